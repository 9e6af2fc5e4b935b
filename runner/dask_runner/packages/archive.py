"""Added packages as one file: a shared file system is asked for one, not for thousands.

It is an archive of the kind that ``tar`` makes, not compressed. Its first member says
what it is for, and how many more there are, so that a part of one is not taken for all.
An archive counts only if it is a file of this account that nobody else can write.
"""

from __future__ import annotations

import io
import json
import os
import stat
import tarfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from dask_runner.wire import typed_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: The name of the first member.
MANIFEST = "dask-runner.json"

#: A manifest of more bytes is none of ours.
_MOST_BYTES = 1 << 24

#: Bytes that are read at once: a shared file system serves few requests better.
_BUFFER = 1 << 20

_OTHERS_WRITE = 0o022

#: What is not asked of the disk for each member: None leaves it as it is made. The
#: rights of a program stay.
_RIGHTS = 0o755
_OF_NO_USE = ("uid", "gid", "uname", "gname", "mtime")


class BadArchiveError(Exception):
    """What was found is no archive to use; the text says why, after its name."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an archive is for.

    Attributes
    ----------
    key : str
        What it was made from (:mod:`dask_runner.packages.key`).
    python : str
        The binary interface of the Python that can import it.
    packages : dict of str to str
        Their versions, by their names.
    requested : tuple of str
        What the user has asked for, in words.
    members : int
        The number of members that follow.
    """

    key: str
    python: str
    packages: dict[str, str]
    requested: tuple[str, ...] = ()
    members: int = 0


def pack(manifest: Manifest, directory: Path, into: BinaryIO) -> None:
    """Write what is in a directory as an archive.

    Raises
    ------
    OSError
        If something cannot be read or written.
    """
    with tarfile.open(fileobj=into, mode="w", format=tarfile.PAX_FORMAT) as archive:
        paths = sorted(filter(_is_of_use, directory.rglob("*")))
        told = asdict(manifest) | {"members": len(paths)}
        text = json.dumps(told).encode()
        first = tarfile.TarInfo(MANIFEST)
        first.size = len(text)
        archive.addfile(first, io.BytesIO(text))
        for path in paths:
            name = str(path.relative_to(directory))
            archive.add(path, name, recursive=False, filter=_plain)


def _is_of_use(path: Path) -> bool:
    """Leave out the bytecode of packages' own tests: a quarter of all files."""
    return not {"tests", "__pycache__"} <= set(path.parts)


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out what would need a header more, and be of no use elsewhere."""
    member.mtime = int(member.mtime)
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open an archive that is this account's.

    Raises
    ------
    BadArchiveError
        If it is somebody else's, or could be.
    OSError
        If it cannot be opened.
    """
    if path.is_symlink():
        raise BadArchiveError("is a symbolic link")
    # Not waiting: it may be a FIFO.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags)
    try:
        _check(os.fstat(descriptor))
        with open(descriptor, "rb", _BUFFER, closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)


def _check(found: os.stat_result) -> None:
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISREG(found.st_mode):
        raise BadArchiveError("is no regular file")
    if found.st_uid != os.geteuid():
        raise BadArchiveError(f"belongs to uid {found.st_uid}, not to you")
    if mode & _OTHERS_WRITE:
        raise BadArchiveError(f"can be written by others (mode {mode:04o})")


def manifest(path: Path, key: str = "") -> Manifest:
    """Return what an archive is for.

    Raises
    ------
    BadArchiveError, OSError
        As :func:`opened` does; also if it is no archive of ours, or that of another
        *key*.
    """
    with opened(path) as file, _read(file) as archive:
        return _manifest(archive, key)


def unpack(path: Path, key: str, python: str, into: Path) -> Manifest:
    """Unpack an archive, in one pass over the file.

    Parameters
    ----------
    path : Path
    key : str
        What it has to be made from.
    python : str
        The binary interface of the Python that is to import it.
    into : Path
        A directory that does not exist yet.

    Raises
    ------
    BadArchiveError, OSError
        As :func:`manifest` does; also if a part is missing, or if a member would be
        anywhere else.
    """
    with opened(path) as file, _read(file) as archive:
        found = _manifest(archive, key)
        if found.python != python:
            raise BadArchiveError(f"is for {found.python}, and this Python is {python}")
        into.mkdir(0o700)
        count = 0

        def members() -> Iterator[tarfile.TarInfo]:
            nonlocal count
            # Iteration begins with the manifest again.
            while (member := archive.next()) is not None:
                count += 1
                yield member

        try:
            archive.extractall(into, members(), filter=_Inside())  # noqa: S202
        except tarfile.FilterError as error:
            raise BadArchiveError(f"has a member that is refused: {error}") from error
        except tarfile.TarError as error:
            raise BadArchiveError(f"is damaged: {error}") from error
        if count != found.members:
            raise BadArchiveError(
                f"is damaged: {count} of {found.members} members are there"
            )
        return found


class _Inside:
    """A filter of members: none gets out of the directory (PEP 706).

    tarfile's own resolves each name on the disk, which costs as much as the files. That
    is of no use as long as no link has been made: the directory is ours, and was empty.
    """

    def __init__(self) -> None:
        self._links = False

    def __call__(self, member: tarfile.TarInfo, into: str) -> tarfile.TarInfo | None:
        self._links |= not (member.isreg() or member.isdir())
        path = PurePosixPath(member.name)
        if self._links or path.is_absolute() or ".." in path.parts:
            return tarfile.data_filter(member, into)
        for name in _OF_NO_USE:
            setattr(member, name, None)
        if member.isdir() or not member.mode & stat.S_IXUSR:
            setattr(member, "mode", None)  # noqa: B010  its type has no None
        else:
            member.mode &= _RIGHTS
        return member


@contextmanager
def _read(file: BinaryIO) -> Iterator[tarfile.TarFile]:
    try:
        archive = tarfile.TarFile(fileobj=file, mode="r", copybufsize=_BUFFER)
    except tarfile.TarError as error:
        raise BadArchiveError(f"is damaged: {error}") from error
    with archive:
        yield archive


def _manifest(archive: tarfile.TarFile, key: str) -> Manifest:
    try:
        first = archive.next()
        text = archive.extractfile(first) if first is not None else None
        ours = first is not None and first.name == MANIFEST
        told = json.loads(text.read(_MOST_BYTES)) if text and ours else None
        found = typed_json.read(Manifest, told)
    except (tarfile.TarError, ValueError, TypeError) as error:
        raise BadArchiveError(f"is damaged, or no archive of ours: {error}") from error
    if key not in {"", found.key}:
        raise BadArchiveError("is made from something else than its name says")
    return found
