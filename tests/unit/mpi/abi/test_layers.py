"""Layers of an image, good ones and such as no engine has ever written.

It is one file because all tests read layers that they have made a moment before.
"""

import json
import os
import signal
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest

from dask_runner.errors import ConfigError
from dask_runner.mpi.abi import bounds, layers, unpack
from dask_runner.mpi.abi.root import Root
from tests.strangers_images import (
    DIRECTORY,
    Entry,
    bomb,
    docker,
    hard,
    header,
    layout,
    link,
    tar,
)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the temporary directory of a check."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    return scratch


@contextmanager
def read(path: Path, *stacked: list[Entry]) -> Iterator[Root]:
    """Read an image of such layers."""
    with unpack.opened(str(docker(path / "image.tar", *map(tar, stacked)))) as root:
        yield root


# ------------------------------------------------------------- what is right


def test_a_whiteout_hides_what_is_below_and_not_what_its_own_layer_has(
    tmp_path: Path,
) -> None:
    lower: list[Entry] = [("a/old", b"old"), ("a/both", b"old"), ("b/old", b"old")]
    upper: list[Entry] = [
        ("a/new", b"new"),
        ("a/below/new", b"new"),
        ("a/.wh..wh..opq", b""),
        ("a/both", b"new"),
        ("b", DIRECTORY),
        ("b/new", b"new"),
        (".wh.b", b""),
    ]

    with read(tmp_path, lower, upper) as root:
        assert root.names("/a") == ["below", "both", "new"]
        assert root.text("/a/both") == "new"
        assert root.names("/b") == ["new"]


def test_a_whiteout_hides_what_a_directory_that_stays_had_below(
    tmp_path: Path,
) -> None:
    lower: list[Entry] = [("a/b/old", b"old"), ("a/c/old", b"old")]
    upper: list[Entry] = [("a/b/new", b"new"), ("a/.wh..wh..opq", b"")]

    with read(tmp_path, lower, upper) as root:
        assert root.names("/a") == ["b"]
        assert root.names("/a/b") == ["new"]


@pytest.mark.parametrize(
    ("upper", "names"),
    [
        ((("a", b"file"),), []),
        ((("a", link("/other")),), ["c"]),
        ((("a", DIRECTORY),), ["b"]),
        ((("a", {"type": tarfile.FIFOTYPE}),), []),
        (((".wh.a", b""),), []),
        (((".wh.a", b""), ("a", DIRECTORY)), []),
    ],
)
def test_what_is_above_covers_what_is_below(
    tmp_path: Path, upper: tuple[Entry, ...], names: list[str]
) -> None:
    lower: list[Entry] = [("a/b", b"b"), ("other/c", b"c")]

    with read(tmp_path, lower, list(upper)) as root:
        assert root.names("/a") == names


def test_a_hard_link_is_the_same_file_and_a_link_the_same_link(tmp_path: Path) -> None:
    files: list[Entry] = [
        ("a/file", b"content"),
        ("away", link("/a")),
        ("b", hard("away/file")),
        ("c", hard("away")),
        ("d", hard("none")),
        ("e", hard("a")),
        ("a/.wh.file", b""),
    ]

    with read(tmp_path, files, [("a/.wh.file", b"")]) as root:
        assert root.text("/b") == "content"
        assert root.names("/c") == []
        assert root.names("/") == ["a", "away", "b", "c"]


def test_what_is_never_read_is_not_kept(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "MOST_TEXT", 1000)
    monkeypatch.setattr(layers, "MOST_DATA", 100_000)
    files: list[Entry] = [
        ("text", b"t" * 1000),
        ("data", b"d" * 1001),
        ("library", b"\x7fELF" + bytes(50_000)),
        ("huge", b"\x7fELF" + bytes(100_000)),
    ]

    with read(tmp_path, files) as root:
        assert root.names("/") == ["data", "huge", "library", "text"]
        assert [len(root.data(f"/{name}")) for name in root.names("/")] == [
            *(0, 0, 50_004, 1000)
        ]
        assert root.unread == ["/data: File too large", "/huge: File too large"]
    assert not list(scratch.iterdir())


# ------------------------------------------------------------------- bounds


@pytest.mark.parametrize(
    ("bound", "value", "why"),
    [
        ("MOST_ENTRIES", 3, "has more than 3 files"),
        ("MOST_UNPACKED", 1 << 20, "unpacks to more than 1 MiB"),
        ("MOST_KEPT", 1 << 20, "has libraries of more than 1 MiB"),
    ],
)
def test_an_image_beyond_a_bound_is_an_error(
    tmp_path: Path,
    scratch: Path,
    monkeypatch: pytest.MonkeyPatch,
    bound: str,
    value: int,
    why: str,
) -> None:
    monkeypatch.setattr(bounds, bound, value)
    library = b"\x7fELF" + os.urandom(1 << 20)

    with (
        pytest.raises(ConfigError, match=why) as caught,
        read(tmp_path, [("a", b""), ("b", b""), ("c", library)]),
    ):
        pass

    assert caught.value.needed
    assert caught.value.do
    assert not list(scratch.iterdir())


def test_an_image_gets_half_of_the_room_that_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = mock.Mock(return_value=mock.Mock(free=3 << 20))
    monkeypatch.setattr(bounds.shutil, "disk_usage", left)
    library = b"\x7fELF" + bytes(2 << 20)

    with (
        pytest.raises(ConfigError, match=r"half of what is free .*\(1 MiB\)") as caught,
        read(tmp_path, [("library", library)]),
    ):
        pass

    assert "TMPDIR=" in caught.value.do


def test_an_image_that_takes_too_long_is_an_error(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "PATIENCE_SECONDS", 0.1)
    before = signal.getsignal(signal.SIGALRM)

    with (
        pytest.raises(ConfigError, match=r"not read within 0\.1 s"),
        read(tmp_path, []),
    ):
        threading.Event().wait()

    assert signal.getsignal(signal.SIGALRM) is before
    assert not list(scratch.iterdir())


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (b"", "empty file"),
        (b"garbage" * 500, "header"),
        (tar([("a", b"1234" * 500)])[:1500], "end of data"),
        (bomb(b"", 16)[:60], "end-of-stream"),
        (b"\x28\xb5\x2f\xfd garbage", "zstd"),
        (b"\xfd7zXZ\0garbage" * 9, "LZMAError"),
        (b"BZh9garbage" * 9, "OSError|Invalid data"),
        # 2 GiB of headers, one behind the other.
        (bomb(header("x", tarfile.XHDTYPE, 64 << 20), 64), "headers of more than"),
        (header("x", tarfile.XHDTYPE, 0) * 3000, "headers of more|recursion"),
    ],
    ids=[
        *("empty", "garbage", "cut", "cut gzip", "zstd", "broken xz", "broken bzip2"),
        *("long headers", "many headers"),
    ],
)
def test_a_layer_that_is_damaged_is_told_as_such(
    tmp_path: Path, layer: bytes, why: str
) -> None:
    with (
        pytest.raises(ConfigError, match=why) as caught,
        unpack.opened(str(docker(tmp_path / "image.tar", layer))),
    ):
        pass
    assert "docker save" in caught.value.do


def test_a_size_below_zero_leads_nowhere(tmp_path: Path) -> None:
    backwards = {"pax_headers": {"size": "-4096"}}
    layer = tar([("a", b"a"), ("b", backwards), ("c", b"c")], tarfile.PAX_FORMAT)

    with (
        # A newer tarfile refuses the header itself.
        pytest.raises(ConfigError, match=r"size below 0|header that is wrong"),
        unpack.opened(str(docker(tmp_path / "image.tar", layer))),
    ):
        pass


@pytest.mark.parametrize("damaged", [b"\xff" * 512, b"cut"])
def test_an_archive_does_not_end_at_a_header_that_is_wrong(
    tmp_path: Path, damaged: bytes
) -> None:
    layer = header("a", tarfile.REGTYPE, 0) + damaged
    rest = tar([("b", b"b")]) if len(damaged) == tarfile.BLOCKSIZE else b""

    with (
        pytest.raises(ConfigError, match="header that is wrong"),
        unpack.opened(str(docker(tmp_path / "image.tar", layer + rest))),
    ):
        pass


# -------------------------------------------------------- tables of contents


def digest(name: str) -> dict[str, str]:
    """Return an entry that names a blob."""
    return {"digest": f"sha256:{name}"}


def test_an_index_may_lead_to_an_index(tmp_path: Path) -> None:
    files = {
        "index.json": {"manifests": [digest("a")]},
        "blobs/sha256/a": {"manifests": [digest("b")]},
        "blobs/sha256/b": {"layers": [digest("c")]},
    }
    blobs = {name: json.dumps(what).encode() for name, what in files.items()}
    blobs["blobs/sha256/c"] = tar([("file", b"found")])

    with unpack.opened(str(layout(tmp_path / "image", blobs))) as root:
        assert root.text("/file") == "found"


def test_a_layer_may_be_a_link_in_the_archive_and_links_have_an_end(
    tmp_path: Path,
) -> None:
    def archive(target: str) -> str:
        manifest = json.dumps([{"Layers": ["a/layer.tar"]}]).encode()
        entries: list[Entry] = [
            ("manifest.json", manifest),
            ("a/layer.tar", link(target)),
            ("b/layer.tar", tar([("file", b"found")])),
        ]
        (tmp_path / "image.tar").write_bytes(tar(entries))
        return str(tmp_path / "image.tar")

    with unpack.opened(archive("../b/layer.tar")) as root:
        assert root.text("/file") == "found"
    for target in ("layer.tar", "../../../etc/passwd", "/etc/passwd"):
        with (
            pytest.raises(ConfigError, match=r"a/layer\.tar"),
            unpack.opened(archive(target)),
        ):
            pass


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "sha256:../../x", "sha256:", ":x", "sha256:a/b", "a\n:b", ""],
)
def test_a_digest_is_no_path(tmp_path: Path, name: str) -> None:
    index = json.dumps({"manifests": [{"digest": name}]}).encode()

    with (
        pytest.raises(ConfigError, match="digest"),
        unpack.opened(str(layout(tmp_path / "image", {"index.json": index}))),
    ):
        pass


def test_more_layers_than_an_engine_takes_are_an_error(tmp_path: Path) -> None:
    manifest = json.dumps([{"Layers": ["0/layer.tar"] * 1025}]).encode()

    with (
        pytest.raises(ConfigError, match="1024 layers"),
        unpack.opened(str(docker(tmp_path / "image.tar", tar([]), manifest=manifest))),
    ):
        pass
