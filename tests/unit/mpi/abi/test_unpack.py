"""Images in files, of Docker's kinds and SIF, unpacked to be looked at."""

import io
import json
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dask_runner.errors import ConfigError, UsageError
from dask_runner.mpi.abi import unpack
from dask_runner.mpi.abi.root import Root
from tests.sif_files import sif


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
def stacked(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Root]:
    """Return the root of an image of two layers."""
    path = tmp_path / "image"
    request.param(path)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    with unpack.opened(str(path)) as root:
        assert list(scratch.iterdir())
        yield root
    assert not list(scratch.iterdir())


def test_layers_lie_one_above_the_other_and_nothing_leaves_the_root(
    stacked: Root,
) -> None:
    assert stacked.text("/usr/lib/liba.so") == "new"
    assert stacked.real("/usr/lib/libb.so") is None
    assert stacked.text("/tmp/planted") == "x"
    assert not Path("/tmp/planted").exists()
    assert stacked.real("/escaped") is None
    assert stacked.real("/usr/share/doc/readme.txt") is None


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
