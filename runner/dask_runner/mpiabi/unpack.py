"""From an image in a file to a root directory, without an engine and without root.

A SIF holds a squashfs, which ``unsquashfs`` takes out; what ``docker save`` and
others write (OCI) are tar files one above the other. Nothing of an image is run.
"""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
import tarfile
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from dask_runner.errors import ConfigError, UsageError
from dask_runner.mpiabi.root import Root

if TYPE_CHECKING:
    from collections.abc import Iterator

# Seconds; an image of some gigabytes on a slow file system.
_PATIENCE = 900

_SQUASHFS_MAGIC = b"hsqs"

# github.com/apptainer/sif, pkg/sif: the global header after its launch line, and
# one descriptor; both are packed and little-endian.
_SIF_MAGIC = b"SIF_MAGIC\0"
_SIF_MAGIC_AT = 32
_SIF_HEADER = struct.Struct("<32s10s3s3s16s8q")
_SIF_DESCRIPTOR = struct.Struct("<iBIII7q128siI376s")
_SIF_PARTITION, _SIF_SQUASHFS, _SIF_PRIMARY = 0x4004, 1, 2

# All that the inventory reads, as unsquashfs wants it.
_PARTS = (
    "etc",
    "lib",
    "lib64",
    "opt",
    "usr/bin",
    "usr/lib",
    "usr/lib64",
    "usr/local",
    "venv",
)
# The same for tar files, where each name is seen: what can be told apart by name
# and is never read stays in the archive.
_UNREAD = re.compile(r".*\.(py|pyc|pyi|h|a|mo|html|js|css|gz|txt|rst|ttf|png|svg)$")

_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"


@contextmanager
def opened(image: str) -> Iterator[Root]:
    """Give an image's root directory; what had to be unpacked is gone afterwards.

    Parameters
    ----------
    image : str
        A directory (a root, a sandbox or an OCI layout), a SIF, a squashfs, or a
        tar file from ``docker save`` or ``podman save``.

    Raises
    ------
    UsageError
        When it is none of these.
    ConfigError
        When it cannot be unpacked here.
    """
    path = Path(image)
    if path.is_dir() and not (path / "oci-layout").exists():
        yield Root(path)
        return
    if not path.exists():
        raise UsageError(
            f"{image}: no such file or directory",
            "an unpacked image, a SIF, or a file from docker save",
            f"docker save {image} -o image.tar, then dask-runner check image.tar"
            if ":" in image
            else "dask-runner check DIR; or from inside the image: "
            "apptainer run --bind /:/host IMAGE check",
        )
    # Its own name, because a killed check may leave it behind.
    with tempfile.TemporaryDirectory(
        prefix="dask-runner-check-", ignore_cleanup_errors=True
    ) as name:
        top = Path(name)
        _unpack(path, top)
        yield Root(top)


def _unpack(path: Path, top: Path) -> None:
    try:
        if path.is_dir():
            _oci(lambda name: (path / name).open("rb"), top)
            return
        offset = _squashfs(path)
        if offset is not None:
            _unsquash(path, offset, top)
        elif tarfile.is_tarfile(path):
            with tarfile.open(path) as archive:
                _oci(lambda name: _member(archive, name), top)
        else:
            raise UsageError(
                f"{path}: neither a SIF nor a tar file",
                "an unpacked image, a SIF, or a file from docker save",
            )
    except (OSError, EOFError, tarfile.TarError, struct.error) as error:
        raise ConfigError(
            f"{path} cannot be unpacked: {error}",
            "a whole image that you may read, and room in the temporary directory",
            f"TMPDIR=/some/disk dask-runner check {path}",
        ) from error


# ------------------------------------------------------------------------ SIF


def _squashfs(path: Path) -> int | None:
    """Return where the squashfs begins; None if there is none."""
    with path.open("rb") as stream:
        head = stream.read(_SIF_HEADER.size)
        if head.startswith(_SQUASHFS_MAGIC):
            return 0
        if head[_SIF_MAGIC_AT:].startswith(_SIF_MAGIC):
            return _primary(stream, head, path)
    return None


def _primary(stream: IO[bytes], head: bytes, path: Path) -> int:
    total, first = _SIF_HEADER.unpack(head)[8:10]
    stream.seek(first)
    for _ in range(total):
        data = stream.read(_SIF_DESCRIPTOR.size)
        kind, used, _, _, _, offset, *_, fstype, part, _ = _SIF_DESCRIPTOR.unpack(data)
        if used and kind == _SIF_PARTITION and part == _SIF_PRIMARY:
            if fstype != _SIF_SQUASHFS:
                break
            return int(offset)
    raise ConfigError(
        f"{path}: this SIF holds no plain squashfs (it is encrypted, or an OCI-SIF)",
        "an image that can be read without its key and engine",
        f"check it from inside: apptainer run --bind /:/host {path} check",
    )


def _unsquash(path: Path, offset: int, top: Path) -> None:
    program = shutil.which("unsquashfs")
    if program is None:
        raise ConfigError(
            f"{path} is a squashfs, and there is no unsquashfs here to read it",
            "the package squashfs-tools (no root is needed to use it), or the image "
            "unpacked",
            f"from inside the image: apptainer run --bind /:/host {path} check",
        )
    command = [program, "-no-progress", "-no-xattrs", "-force", "-offset", str(offset)]
    try:
        done = subprocess.run(
            [*command, "-dest", str(top), str(path), *_PARTS],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=_PATIENCE,
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigError(
            f"unsquashfs {path} was not done after {_PATIENCE} s",
            "a file system that is faster",
            f"TMPDIR=/some/disk dask-runner check {path}",
        ) from error
    # 2 is for what an ordinary user may not make, such as device files.
    if done.returncode not in {0, 2} or not any(top.iterdir()):
        said = " ".join(done.stderr.strip().splitlines()[-1:]) or "nothing inside"
        raise ConfigError(
            f"unsquashfs {path} ended with status {done.returncode}: {said}",
            "a whole image, and room in the temporary directory",
            f"TMPDIR=/some/disk dask-runner check {path}",
        )


# ---------------------------------------------------------------- Docker, OCI


def _member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    try:
        stream = archive.extractfile(name)
    except KeyError as error:
        raise FileNotFoundError(f"no {name} inside") from error
    if stream is None:
        raise FileNotFoundError(f"no file {name} inside")
    return stream


def _oci(give: Any, top: Path) -> None:
    for name in _layers(give):
        with give(name) as stream, tarfile.open(fileobj=stream, mode="r:*") as layer:
            _apply(layer, top)


def _layers(give: Any) -> list[str]:
    """Return the names of an image's layers, the lowest first."""
    try:
        # github.com/moby/docker-image-spec: what docker save has always written.
        return list(_json(give, "manifest.json")[0]["Layers"])
    except FileNotFoundError:
        pass
    # github.com/opencontainers/image-spec, image-layout.md
    entry = _json(give, "index.json")["manifests"][0]
    manifest = _json(give, _blob(entry))
    while "manifests" in manifest:
        manifest = _json(give, _blob(manifest["manifests"][0]))
    return [_blob(layer) for layer in manifest["layers"]]


def _blob(entry: dict[str, str]) -> str:
    return "blobs/" + entry["digest"].replace(":", "/")


def _json(give: Any, name: str) -> Any:
    with give(name) as stream:
        return json.load(stream)


def _apply(layer: tarfile.TarFile, top: Path) -> None:
    root = Root(top)
    for member in layer:
        parts = [part for part in member.name.split("/") if part not in {"", "."}]
        if not parts or ".." in parts or _UNREAD.match(parts[-1]):
            continue
        # A link of a lower layer leads to where it leads inside, never out.
        parent = root.resolve("/".join(parts[:-1]))
        if parent is None:
            continue
        directory = root.outside(parent)
        if parts[-1].startswith(_WHITEOUT):
            if directory.is_dir():
                _hide(directory, parts[-1])
        else:
            directory.mkdir(parents=True, exist_ok=True)
            _place(layer, member, root, directory / parts[-1])


def _place(
    layer: tarfile.TarFile, member: tarfile.TarInfo, root: Root, path: Path
) -> None:
    if member.isdir():
        if path.is_symlink() or path.is_file():
            path.unlink()
        path.mkdir(exist_ok=True)
        return
    _remove(path)
    if member.issym():
        path.symlink_to(member.linkname)
    elif member.islnk():
        target = root.file(member.linkname)
        if target and target.is_file():
            path.hardlink_to(target)
    elif member.isfile():
        stream = layer.extractfile(member)
        if stream:
            with stream, path.open("wb") as file:
                shutil.copyfileobj(stream, file)


def _hide(directory: Path, whiteout: str) -> None:
    """Take away what an upper layer covers."""
    if whiteout == _OPAQUE:
        for each in directory.iterdir():
            _remove(each)
    else:
        _remove(directory / whiteout.removeprefix(_WHITEOUT))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
