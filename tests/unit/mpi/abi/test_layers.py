"""Layers of an image, good ones and such as no engine has ever written."""

import json
import os
import signal
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dask_runner.errors import ConfigError, RunnerError
from dask_runner.mpi.abi import bounds, inventory, layers, unpack
from dask_runner.mpi.abi.root import Root
from dask_runner.printable import printable
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
    tree,
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
    monkeypatch.setattr(bounds, "PATIENCE", 0.1)
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


# ----------------------------------------------------------------- anything

PARTS = st.sampled_from(
    [
        *("usr", "lib", "etc", "opt", "mpi", "bin", "a", "..", ".", "", "\x1b[2J", "ü"),
        *("libmpi.so.12", "libc.so.6", "ld.so.conf", "os-release", "mpiexec"),
        *(".wh.", ".wh..", ".wh...", ".wh..wh..opq", ".wh.usr", ".wh.lib", ".wh..wh."),
        *("victim", "tmp", "home", "n" * 256, "\udcff", ".wh.a/..", ".wh./"),
    ]
)
PATHS = st.builds(
    lambda begin, parts: begin + "/".join(parts),
    st.sampled_from(
        ["", "/", "./", "../", "../" * 20, "VICTIM/", "../" * 20 + "VICTIM/"]
    ),
    st.lists(PARTS, max_size=5),
)
KINDS = st.sampled_from(
    [
        *(tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE),
        *(tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE),
        *(tarfile.CONTTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
        *(tarfile.GNUTYPE_SPARSE, tarfile.XHDTYPE, tarfile.XGLTYPE, b"Z"),
    ]
)
CONTENTS = st.one_of(
    st.binary(max_size=1100),
    st.sampled_from(
        [
            b"\x7fELF" + bytes(600),
            b"include /etc/*\n/usr/*/\x00\n/" + b"*/" * 40,
            b'PRETTY_NAME="\x1b]0;x\x07"',
            b"PluginDir=/*/*/*:\xff\n",
        ]
    ),
)
ENTRIES = st.fixed_dictionaries(
    {
        "name": PATHS,
        "type": KINDS,
        "linkname": PATHS,
        "mode": st.sampled_from([0, 0o644, 0o7777]),
        "content": CONTENTS,
        "more": st.sampled_from([0, 0, 0, -1, 1, 1 << 20, 1 << 33, 1 << 62]),
        "pax_headers": st.dictionaries(
            st.sampled_from(
                [
                    "size",
                    "path",
                    "linkpath",
                    "GNU.sparse.map",
                    "GNU.sparse.size",
                    "GNU.sparse.major",
                    "GNU.sparse.minor",
                    "hdrcharset",
                    "mtime",
                ]
            ),
            st.sampled_from(
                ["0", "-512", "1", "99999999999999", "VICTIM/a", "0,1", ""]
            ),
            max_size=2,
        ),
    }
)


def raw(entries: list[dict[str, Any]], victim: Path) -> bytes:
    """Return a tar file with headers that do not fit to their contents."""
    data = b""
    for entry in entries:
        member = tarfile.TarInfo(entry["name"].replace("VICTIM", str(victim)))
        member.linkname = entry["linkname"].replace("VICTIM", str(victim))
        member.type, member.mode = entry["type"], entry["mode"]
        member.size = max(0, len(entry["content"]) + entry["more"])
        member.pax_headers = {
            key: value.replace("VICTIM", str(victim))
            for key, value in entry["pax_headers"].items()
        }
        form = tarfile.PAX_FORMAT if member.pax_headers else tarfile.GNU_FORMAT
        data += member.tobuf(form, "utf-8", "surrogateescape")
        data += entry["content"].ljust(-(-len(entry["content"]) // 512) * 512, b"\0")
    return data + bytes(1024)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Return a temporary directory, and a directory with things that are yours."""
    top = tmp_path_factory.mktemp("strangers")
    scratch, victim = top / "tmp", top / "victim"
    for path in (scratch / "yours", victim / "a/victim"):
        path.mkdir(parents=True)
        (path / "thesis.dat").write_text("years")
    (victim / "link").symlink_to("a")
    with mock.patch.object(tempfile, "tempdir", str(scratch)):
        yield scratch, victim


def safe(places: tuple[Path, Path], image: Path) -> None:
    """Read an image, or refuse it, with all outside as it was."""
    scratch, victim = places
    mine, before = tree(scratch / "yours"), tree(victim)
    try:
        with unpack.opened(str(image)) as root:
            facts = inventory.take(root, (), "image")
            assert all(each.isprintable() for each in printable(facts.system))
    except RunnerError as error:
        assert error.saw  # noqa: PT017  either is right
        assert error.needed  # noqa: PT017
        assert error.do  # noqa: PT017
        assert str(error).replace("\n", "").isprintable()  # noqa: PT017
    assert (tree(scratch / "yours"), tree(victim)) == (mine, before)
    assert [path.name for path in scratch.iterdir()] == ["yours"]


ANYTHING = settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.function_scoped_fixture,
        HealthCheck.data_too_large,
    ],
)


@ANYTHING
@given(st.lists(st.lists(ENTRIES, max_size=6), min_size=1, max_size=3))
def test_layers_of_anything_touch_nothing_outside(
    places: tuple[Path, Path], stacked: list[list[dict[str, Any]]]
) -> None:
    image = places[0].parent / "image.tar"
    docker(image, *(raw(entries, places[1]) for entries in stacked))

    safe(places, image)


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.sampled_from(["sha256:aa", "0/layer.tar", "/dev/zero", "..", "\x1b[2J", ""]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["Layers", "manifests", "layers", "digest", "x"]),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=8,
)


@ANYTHING
@given(JSON, JSON, st.integers(0, 400))
@example([{"Layers": ["aa"]}], {}, 400)
@example({}, {"manifests": [{"digest": "sha256:aa"}]}, 400)
def test_tables_of_contents_of_any_shape_are_read_or_refused(
    places: tuple[Path, Path], table: Any, blob: Any, cut: int
) -> None:
    files = {
        "index.json": json.dumps(table).encode()[:cut],
        "blobs/sha256/aa": json.dumps(blob).encode(),
    }
    image = layout(places[0].parent / "layout", files)

    safe(places, image)
    safe(
        places, docker(image.with_suffix(".tar"), manifest=files["index.json"] or b" ")
    )


@ANYTHING
@given(st.data())
def test_damaged_images_are_read_or_refused(
    places: tuple[Path, Path], data: st.DataObject
) -> None:
    image = places[0].parent / "image.tar"
    good = [("usr/lib/libmpi.so.12", b"\x7fELF" + bytes(200)), ("a", link("/usr"))]
    docker(image, tar(good, tarfile.PAX_FORMAT))
    damaged = bytearray(image.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        # Where the headers and the table are, and not the padding.
        at = data.draw(st.integers(0, 4000))
        damaged[at : at + 1] = data.draw(st.binary(min_size=1, max_size=3))
    image.write_bytes(damaged[: data.draw(st.integers(0, len(damaged)))])

    safe(places, image)
