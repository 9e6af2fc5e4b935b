"""From an image in a file to its files, without an engine and without root.

A SIF holds a squashfs, which ``unsquashfs`` takes out; what ``docker save`` and
others write (OCI) are tar files one above the other. Nothing of an image is run, and
its maker is not trusted: it may cost some time and room, within bounds.
"""

from __future__ import annotations

import errno
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from dask_runner.errors import ConfigError, UsageError
from dask_runner.mpi.abi import oci, squash
from dask_runner.mpi.abi.bounds import Budget, in_time
from dask_runner.mpi.abi.files import Disk
from dask_runner.mpi.abi.layers import Layers
from dask_runner.mpi.abi.root import Root
from dask_runner.mpi.abi.streams import Broken, unbroken, unpacked
from dask_runner.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}


@contextmanager
def opened(image: str) -> Iterator[Root]:
    """Yield an image's root directory; what had to be unpacked is gone afterwards.

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
        When it cannot be unpacked here, in the body too when it takes too long.
    """
    path = Path(image)
    if path.is_dir() and not (path / "oci-layout").exists():
        with in_time(image):
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
    with ExitStack() as ends:
        try:
            # Its own name, because a killed check may leave it behind.
            top = Path(
                ends.enter_context(
                    tempfile.TemporaryDirectory(
                        prefix="dask-runner-check-", ignore_cleanup_errors=True
                    )
                )
            )
            ends.enter_context(in_time(image))
            root = Root(_files(path, top, ends))
        except (OSError, Broken) as error:
            raise _refused(path, error) from error
        yield root


def _files(path: Path, top: Path, ends: ExitStack) -> Disk | Layers:
    budget = Budget(str(path), top)
    if path.is_dir():
        return _layers(Root(path), path, top, ends, budget)
    file = ends.enter_context(Disk(path.resolve().parent).open(path.resolve().name))
    offset = squash.begin(file, path)
    if offset is not None:
        directory = top / "root"
        directory.mkdir()
        squash.unpack(path, offset, directory, budget)
        return Disk(directory)
    try:
        archive = oci.Archive(_plain(file, top, ends, budget), budget)
    except Broken as error:
        raise UsageError(
            printable(f"{path}: neither a SIF nor a tar file ({error})"),
            "an unpacked image, a SIF, or a file from docker save",
            "docker save NAME -o image.tar, then dask-runner check image.tar",
        ) from error
    return _layers(archive, path, top, ends, budget)


def _plain(file: BinaryIO, top: Path, ends: ExitStack, budget: Budget) -> BinaryIO:
    """Return a file's content uncompressed, so that one can seek in it."""
    chunks = unpacked(file)
    if chunks is None:
        return file
    plain = ends.enter_context(_scratch(top))
    with unbroken():
        for chunk in chunks:
            budget.kept(len(chunk))
            plain.write(chunk)
    plain.seek(0)
    return plain


def _layers(
    layout: oci.Layout, path: Path, top: Path, ends: ExitStack, budget: Budget
) -> Layers:
    contents = ends.enter_context(_scratch(top))
    files = Layers(str(path), contents, budget)
    for name in oci.layers(layout):
        with oci.opened(layout, name) as stream:
            files.add(stream)
    return files


def _scratch(top: Path) -> BinaryIO:
    return cast("BinaryIO", tempfile.TemporaryFile(dir=top))


def _refused(path: Path, error: OSError | Broken) -> ConfigError:
    # The system's words for an error without the path in front, which is ours.
    why = getattr(error, "strerror", None) or str(error)
    if isinstance(error, OSError) and error.errno in _FULL:
        return ConfigError(
            f"{path} cannot be unpacked in {tempfile.gettempdir()}: {why}",
            "room in the temporary directory",
            f"TMPDIR=/some/disk dask-runner check {path}",
        )
    return ConfigError(
        printable(f"{path} cannot be unpacked: {why}"),
        "a whole image that you may read",
        "save it once more (docker save NAME -o image.tar), or check it from inside: "
        f"apptainer run --bind /:/host {path} check",
    )
