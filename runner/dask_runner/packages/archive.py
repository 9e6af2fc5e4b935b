"""Added packages as one file: a shared file system is asked for one, not for thousands.

It is an archive of the kind that ``tar`` makes, not compressed. Its first member says
what it is for, and how many more there are, so that a part of one is not taken for all.
An archive counts only if it is a file of this account that nobody else can write.
"""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import stat
import tarfile
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
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

#: What a file system says whose files the kernel does not copy (sendfile(2)).
_SENDS_NOT = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})


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
        makes = _Unpacked(archive, file, into)
        try:
            # Iteration would begin with the manifest again.
            while (member := archive.next()) is not None:
                count += 1
                makes(member)
        except tarfile.FilterError as error:
            raise BadArchiveError(f"has a member that is refused: {error}") from error
        except tarfile.TarError as error:
            raise BadArchiveError(f"is damaged: {error}") from error
        if count != found.members:
            raise BadArchiveError(
                f"is damaged: {count} of {found.members} members are there"
            )
        return found


class _Unpacked:
    """Makes members in a directory, in their order: none gets out of it (PEP 706).

    tarfile resolves each name on the disk, looks for the directory above and carries
    the contents through this process, which costs as much as the files. The first two
    are of no use as long as no link has been made: the directory is ours, and was
    empty. Whatever is no plain file or directory is tarfile's all the same, and so is
    all that comes after a link.

    Parameters
    ----------
    archive : TarFile
    file : BinaryIO
        Where it is.
    into : Path
    """

    def __init__(self, archive: tarfile.TarFile, file: BinaryIO, into: Path) -> None:
        self._archive, self._source, self._into = archive, file.fileno(), str(into)
        self._plain = self._sends = True

    def __call__(self, member: tarfile.TarInfo) -> None:
        """Make one member."""
        plain = (member.isreg() and not member.issparse()) or member.isdir()
        self._plain &= plain
        parts = member.name.split("/")
        # An absolute name begins with "".
        if not self._plain or not {"", ".", ".."}.isdisjoint(parts):
            self._archive.extract(member, self._into, filter="data")
            return
        path = f"{self._into}/{member.name}"
        make = self._directory if member.isdir() else self._file
        try:
            make(path, member)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)  # noqa: PTH103, PTH120  for each file
            make(path, member)

    @staticmethod
    def _directory(path: str, member: tarfile.TarInfo) -> None:
        del member
        with suppress(FileExistsError):
            os.mkdir(path, 0o755)  # noqa: PTH102  for each one

    def _file(self, path: str, member: tarfile.TarInfo) -> None:
        mode = 0o755 if member.mode & stat.S_IXUSR else 0o644
        made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        try:
            if not self._sends or not self._send(made, member):
                self._copy(made, member)
        finally:
            os.close(made)

    def _send(self, made: int, member: tarfile.TarInfo) -> bool:
        """Have the kernel copy the contents; return whether the file systems do."""
        at, left = member.offset_data, member.size
        while left:
            try:
                sent = os.sendfile(made, self._source, at, left)
            except OSError as error:
                if error.errno not in _SENDS_NOT or at > member.offset_data:
                    raise
                self._sends = False
                return False
            if not sent:
                raise tarfile.ReadError("unexpected end of data")
            at, left = at + sent, left - sent
        return True

    def _copy(self, made: int, member: tarfile.TarInfo) -> None:
        contents = self._archive.extractfile(member)
        if contents is not None:
            with contents, open(made, "wb", closefd=False) as file:
                shutil.copyfileobj(contents, file, _BUFFER)


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
