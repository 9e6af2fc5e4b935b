"""A directory seen as a process would whose root it is; images in files."""

import io
import json
import struct
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dask_runner.errors import ConfigError, UsageError
from dask_runner.mpiabi import unpack
from dask_runner.mpiabi.elf import NotELFError, read, symbols
from dask_runner.mpiabi.inventory import take
from dask_runner.mpiabi.root import Root


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """Return a root with links that lead outside for who follows them outside."""
    top = tmp_path / "root"
    (top / "usr/lib/x86_64-linux-gnu").mkdir(parents=True)
    (top / "usr/lib/x86_64-linux-gnu/libmpi.so.40.1").write_text("inside")
    (top / "lib").symlink_to("usr/lib")
    (top / "etc/alternatives").mkdir(parents=True)
    (top / "etc/alternatives/libmpi.so").symlink_to(
        "/usr/lib/x86_64-linux-gnu/libmpi.so.40.1"
    )
    (top / "usr/lib/libmpi.so").symlink_to("/etc/alternatives/libmpi.so")
    (top / "usr/lib/up.so").symlink_to("../../../../../../etc/alternatives/libmpi.so")
    (top / "usr/lib/loop").symlink_to("loop")
    (top / "usr/lib/away").symlink_to("/no/such/file")
    return top


@pytest.mark.parametrize(
    ("path", "real"),
    [
        ("/lib/libmpi.so", "/usr/lib/x86_64-linux-gnu/libmpi.so.40.1"),
        ("/usr/lib/up.so", "/usr/lib/x86_64-linux-gnu/libmpi.so.40.1"),
        ("/usr/../lib/./x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu"),
        ("/", "/"),
        ("/usr/lib/loop", None),
        ("/usr/lib/away", None),
        ("/etc/passwd", None),
        ("/usr/lib/libmpi.so/below", None),
    ],
)
def test_links_are_followed_inside(top: Path, path: str, real: str | None) -> None:
    assert Root(top).real(path) == real


def test_patterns_follow_links_inside(top: Path) -> None:
    (top / "opt").symlink_to("/usr/lib")

    assert Root(top).glob("/opt/*-linux-gnu/*.so*") == [
        "/opt/x86_64-linux-gnu/libmpi.so.40.1"
    ]


def test_the_loader_looks_where_its_configuration_says_first(top: Path) -> None:
    (top / "opt/mpi/lib").mkdir(parents=True)
    (top / "etc/ld.so.conf.d").mkdir()
    (top / "etc/ld.so.conf").write_text("# ours\ninclude ld.so.conf.d/*.conf\n")
    (top / "etc/ld.so.conf.d/0.conf").write_text("/opt/mpi/lib\n/no/such\n")
    # One that includes itself must come to an end.
    (top / "etc/ld.so.conf.d/1.conf").write_text("include /etc/ld.so.conf\n")

    assert Root(top).loader_path == [
        "/opt/mpi/lib",
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib",
    ]


def test_a_library_is_found_beside_its_user_before_the_loaders_path(top: Path) -> None:
    own = top / "opt/mpi/lib"
    own.mkdir(parents=True)
    (own / "libmpi.so.40.1").write_text("own")
    root = Root(top)

    user = "/opt/mpi/lib/liba.so"
    assert root.library("libmpi.so.40.1", user, ("$ORIGIN",)) == str(
        Path("/opt/mpi/lib/libmpi.so.40.1")
    )
    assert root.library("libmpi.so.40.1") == "/usr/lib/x86_64-linux-gnu/libmpi.so.40.1"


def test_an_empty_root_has_no_facts_and_no_trouble(tmp_path: Path) -> None:
    facts = take(Root(tmp_path))

    assert (facts.arch, facts.libraries, facts.slurm, facts.notes) == ("", (), None, ())


LIBC = Root(Path("/")).library("libc.so.6") or ""


@pytest.mark.parametrize("size", [0, 3, 4, 20, 63, 64, 500, 5_000, 500_000])
def test_a_cut_library_is_an_error_and_no_crash(tmp_path: Path, size: int) -> None:
    cut = tmp_path / "libmpi.so.12"
    cut.write_bytes(Path(LIBC).read_bytes()[:size])

    for reader in (read, symbols):
        with pytest.raises(NotELFError, match="libmpi"):
            reader(cut)


@pytest.mark.parametrize("at", range(0, 4_000, 97))
def test_a_damaged_library_is_read_or_refused(tmp_path: Path, at: int) -> None:
    data = bytearray(Path(LIBC).read_bytes())
    data[at : at + 24] = b"\xff" * 24
    damaged = tmp_path / "libmpi.so.12"
    damaged.write_bytes(data)

    try:
        read(damaged)
    except NotELFError as error:
        assert "libmpi.so.12" in str(error)  # noqa: PT017  either may be right


def test_a_damaged_library_is_noted_and_the_rest_is_read(tmp_path: Path) -> None:
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/libmpi.so.12").write_bytes(b"\x7fELF and no more")

    facts = take(Root(tmp_path))

    assert facts.libraries == ()
    assert len(facts.notes) == 1
    assert "libmpi.so.12" in facts.notes[0]


# ------------------------------------------------------------ images in files


def layer(*files: tuple[str, str | bytes]) -> bytes:
    """Return a tar file; a text is a link's target, bytes are a file."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


LOWER = layer(
    ("usr/lib/liba.so", b"old"),
    ("usr/lib/libb.so", b"b"),
    ("lib", "/usr/lib"),
    ("etc/out", "/../../../../tmp"),
)
UPPER = layer(
    ("lib/liba.so", b"new"),
    ("usr/lib/.wh.libb.so", b""),
    ("etc/out/planted", b"x"),
    ("../../escaped", b"x"),
    ("usr/share/doc/readme.txt", b"never read"),
)


def docker_archive(path: Path) -> None:
    """Write what ``docker save`` writes."""
    manifest = json.dumps([{"Layers": ["a/layer.tar", "b/layer.tar"]}]).encode()
    files = {
        "manifest.json": manifest,
        "a/layer.tar": LOWER,
        "b/layer.tar": UPPER,
    }
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def oci_layout(path: Path) -> None:
    """Write an OCI layout as a directory."""
    blobs = path / "blobs/sha256"
    blobs.mkdir(parents=True)
    (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (blobs / "aa").write_bytes(LOWER)
    (blobs / "bb").write_bytes(UPPER)
    layers = [{"digest": "sha256:aa"}, {"digest": "sha256:bb"}]
    (blobs / "cc").write_text(json.dumps({"layers": layers}))
    index = {"manifests": [{"digest": "sha256:cc"}]}
    (path / "index.json").write_text(json.dumps(index))


@pytest.fixture(params=[docker_archive, oci_layout])
def stacked(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Root]:
    """Return the root of an image of two layers."""
    path = tmp_path / "image"
    request.param(path)
    with unpack.opened(str(path)) as root:
        yield root
    assert not root.top.exists()


def test_layers_lie_one_above_the_other_and_nothing_leaves_the_root(
    stacked: Root,
) -> None:
    assert stacked.text("/usr/lib/liba.so") == "new"
    assert stacked.real("/usr/lib/libb.so") is None
    assert stacked.text("/tmp/planted") == "x"
    assert not Path("/tmp/planted").exists()
    assert stacked.real("/escaped") is None
    assert stacked.real("/usr/share/doc/readme.txt") is None


def sif(path: Path, part: int, kind: int = 1) -> None:
    """Write a SIF of one partition that holds no squashfs."""
    extra = struct.pack("<ii376s", kind, part, b"")
    descriptor = struct.pack(
        "<iBIII7q128s", 0x4004, 1, 1, 0, 0, 4096, 8, 8, 0, 0, 0, 0, b"x"
    )
    first = 128
    head = struct.pack(
        "<32s10s3s3s16s8q",
        b"#!/usr/bin/env run-singularity\n",
        b"SIF_MAGIC\0",
        b"01\0",
        b"02\0",
        b"",
        *(0, 0, 0, 1, first, 585, 4096, 8),
    )
    data = head.ljust(first, b"\0") + descriptor + extra
    path.write_bytes(data.ljust(4096, b"\0") + b"hsqsHERE")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only directory on the PATH."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    return programs


def test_a_sif_without_unsquashfs_says_what_is_needed(
    tmp_path: Path, programs: Path
) -> None:
    del programs
    sif(tmp_path / "x.sif", 2)

    with (
        pytest.raises(ConfigError, match="squashfs-tools") as caught,
        unpack.opened(str(tmp_path / "x.sif")),
    ):
        pass
    assert "--bind /:/host" in caught.value.do


def test_a_sif_that_is_encrypted_says_so(tmp_path: Path) -> None:
    sif(tmp_path / "x.sif", 2, kind=4)

    with (
        pytest.raises(ConfigError, match="encrypted"),
        unpack.opened(str(tmp_path / "x.sif")),
    ):
        pass


def test_the_squashfs_of_a_sif_is_where_its_descriptor_says(
    tmp_path: Path, programs: Path
) -> None:
    sif(tmp_path / "x.sif", 2)
    # The real program is in the images' tests; here is what it is told.
    told = tmp_path / "told"
    program = programs / "unsquashfs"
    program.write_text(f'#!/bin/sh\necho "$@" > {told}\nexit 1\n')
    program.chmod(0o755)

    with (
        pytest.raises(ConfigError, match="ended with status 1"),
        unpack.opened(str(tmp_path / "x.sif")),
    ):
        pass
    assert "-offset 4096" in told.read_text()


def garbage(path: Path) -> None:
    """Write neither."""
    path.write_bytes(b"garbage")


def cut_archive(path: Path) -> None:
    """Write the first half of what docker save writes."""
    docker_archive(path)
    path.write_bytes(path.read_bytes()[:900])


def cut_sif(path: Path) -> None:
    """Write a SIF that ends within its header."""
    sif(path, 2)
    path.write_bytes(path.read_bytes()[:140])


@pytest.mark.parametrize("write", [garbage, cut_archive, cut_sif])
def test_a_damaged_image_is_one_error(tmp_path: Path, write: object) -> None:
    path = tmp_path / "image"
    write(path)  # type: ignore[operator]

    with (
        pytest.raises((ConfigError, UsageError), match="image"),
        unpack.opened(str(path)),
    ):
        pass


def test_an_image_that_is_not_there_says_what_would_do() -> None:
    with pytest.raises(UsageError, match="no such file"), unpack.opened("a:b"):
        pass


def test_the_command_line_loads_nothing_of_it_for_other_commands() -> None:
    code = (
        "import sys, dask_runner.cli\n"
        "print([n for n in sys.modules if 'mpiabi' in n or 'elftools' in n])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert done.stdout == "[]\n"
