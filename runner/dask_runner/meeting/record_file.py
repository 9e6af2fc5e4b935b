"""The file that holds a record: nobody else can write it, read it or replace it.

All that is done to a file is done relative to the descriptor of its directory
(:mod:`dask_runner.meeting.record_directory`).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import time
from typing import TYPE_CHECKING

from dask_runner.meeting import record_directory
from dask_runner.meeting.record import BadRecordError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: Bytes that are read; a record has about 2 kB.
LARGEST_RECORD = 1 << 16

#: Times that a directory is made anew: another cluster of the same user removes
#: it when it leaves and finds it empty, between our making and our writing.
TRIES = 10

_ASIDE = ".aside"
_OTHERS = 0o077
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


class TakenError(BadRecordError):
    """A file of that name exists already."""


def write_if_absent(path: Path, text: str, mark: str = "") -> bool:
    """Write a file as :func:`write` does if none of its name exists; return whether.

    Raises
    ------
    OSError, BadRecordError
        As :func:`write`.
    """
    try:
        write(path, text, mark, _move_where_nothing_is)
    except TakenError:
        return False
    return True


def append(path: Path, text: str) -> None:
    """Add text at its end, in one piece.

    Raises
    ------
    OSError
        If it is not there, or cannot be written.
    BadRecordError
        If somebody else can have written or read it.
    """
    flags = os.O_WRONLY | os.O_APPEND
    with (
        record_directory.opened(path.parent) as directory,
        _open(directory, path.name, flags) as file,
    ):
        os.write(file, text.encode())


def age(path: Path) -> float:
    """Return the seconds since a file was last written.

    By the clock of the file system, since those of two nodes may differ by hours.

    Raises
    ------
    OSError
        If it is not there.
    BadRecordError
        If somebody else can have written or read it.
    """
    with record_directory.opened(path.parent) as directory:
        with _open(directory, path.name, os.O_RDONLY) as file:
            then = os.fstat(file).st_mtime
        return _now(directory) - then


def write(
    path: Path,
    text: str,
    mark: str = "",
    move: Callable[[int, str, str], None] | None = None,
) -> None:
    """Write a file aside, mode 0600, and move it into place; make its directory.

    The name aside has the *mark*, by which :func:`clear` finds it.

    Raises
    ------
    OSError
        If it cannot be written. What was made on the way is gone again.
    BadRecordError
        If others could read it, or its directory is not ours.
    """
    for left in reversed(range(TRIES)):
        made: list[Path] = []
        try:
            record_directory.make(path.parent, 0o700, made)
            with record_directory.opened(path.parent) as directory:
                _write(directory, path.name, text, mark, move or _move)
        except (OSError, BadRecordError) as error:
            for one in reversed(made):
                with contextlib.suppress(OSError):  # another cluster uses it by now
                    one.rmdir()
            # FileExistsError: it was there for mkdir(2), and then no more.
            gone = isinstance(error, FileNotFoundError | FileExistsError)
            if not (left and gone):
                raise
        else:
            return


def read(path: Path) -> str:
    """Return a file's text.

    Raises
    ------
    OSError
        If it is not there, or cannot be read.
    BadRecordError
        If somebody else can have written or read it.
    """
    with record_directory.opened(path.parent) as directory:
        return _read(directory, path.name)


def remove(path: Path, is_ours: Callable[[str], bool]) -> None:
    """Remove a file whose text *is_ours*, and its directory if that is empty and ours.

    Raises
    ------
    OSError
        If it is gone already, or there are others beside it.
    BadRecordError
        If somebody else can have written or read it.
    """
    with record_directory.opened(path.parent) as directory:
        if is_ours(_read(directory, path.name)):
            os.unlink(path.name, dir_fd=directory)
        _remove_if_empty(path.parent, directory)


def clear(path: Path, mark: str) -> None:
    """Remove what a process that was killed while it wrote has left of a file.

    Raises
    ------
    OSError
        If there is no such directory, or there are other files in it.
    BadRecordError
        If somebody else could have made the directory.
    """
    with record_directory.opened(path.parent) as directory:
        for name in os.listdir(directory):  # noqa: PTH208  a descriptor
            if name.startswith(f".{mark}.") and name.endswith(_ASIDE):
                os.unlink(name, dir_fd=directory)
        _remove_if_empty(path.parent, directory)


def _remove_if_empty(path: Path, directory: int) -> None:
    there, seen = os.lstat(path), os.fstat(directory)
    if record_directory.is_own(path) and os.path.samestat(there, seen):
        path.rmdir()


def seen(path: Path) -> bool:
    """Return whether there is something; not where this account may not look."""
    return os.access(path, os.F_OK)


def usable(directory: Path) -> bool:
    """Return whether this account could write a record there."""
    while not seen(directory):
        directory = directory.parent
    if not os.access(directory, os.W_OK | os.X_OK):
        return False
    try:
        with record_directory.opened(directory):
            return True
    except (OSError, BadRecordError):
        return False


def _move(directory: int, aside: str, name: str) -> None:
    os.replace(aside, name, src_dir_fd=directory, dst_dir_fd=directory)


def _move_where_nothing_is(directory: int, aside: str, name: str) -> None:
    try:
        os.link(aside, name, src_dir_fd=directory, dst_dir_fd=directory)
    except FileExistsError as error:
        raise TakenError("is there already") from error
    except OSError:
        # A file system without hard links (vfat, many of FUSE): look for it instead.
        if name in os.listdir(directory):
            raise TakenError("is there already") from None
        _move(directory, aside, name)
    else:
        os.unlink(aside, dir_fd=directory)


def _now(directory: int) -> float:
    """Return the time as the directory's file system has it."""
    name = _name_aside()
    try:
        descriptor = os.open(name, _NEW, 0o600, dir_fd=directory)
    except OSError:
        return time.time()  # here it is read-only, and ours is the best clock we have
    try:
        return os.fstat(descriptor).st_mtime
    finally:
        os.close(descriptor)
        os.unlink(name, dir_fd=directory)


def _name_aside(mark: str = "") -> str:
    # The directory may be one in which others can write, as /tmp: a name that
    # nobody can guess and lay a file or a link under.
    return f".{mark}.{secrets.token_hex(8)}{_ASIDE}"


def _write(
    directory: int,
    name: str,
    text: str,
    mark: str,
    move: Callable[[int, str, str], None],
) -> None:
    aside = _name_aside(mark)
    descriptor = os.open(aside, _NEW, 0o600, dir_fd=directory)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            _hide(descriptor)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        move(directory, aside, name)
    except (OSError, BadRecordError):
        with contextlib.suppress(OSError):  # what went wrong first is what counts
            os.unlink(aside, dir_fd=directory)
        raise


def _hide(descriptor: int) -> None:
    """Make the open file private, or refuse it while it is still empty."""
    # The mode that was asked for is no promise: vfat, CIFS and the like have one for
    # all files, and refuse this as well. What is so in the end is what counts.
    with contextlib.suppress(OSError):
        os.fchmod(descriptor, 0o600)
    found = os.fstat(descriptor)
    if found.st_uid != os.geteuid():
        raise BadRecordError(f"would belong to uid {found.st_uid}, not to us")
    mode = stat.S_IMODE(found.st_mode)
    if mode & _OTHERS:
        raise BadRecordError(
            f"is on a file system that shows files to others (mode {mode:04o})"
        )


def _read(directory: int, name: str) -> str:
    with _open(directory, name, os.O_RDONLY) as descriptor:
        try:
            return os.read(descriptor, LARGEST_RECORD).decode()
        except UnicodeDecodeError as error:
            raise BadRecordError("is no text") from error


@contextlib.contextmanager
def _open(directory: int, name: str, flags: int) -> Iterator[int]:
    """Open a file that is ours alone."""
    # Reading the directory makes an NFS client ask its server anew, where it
    # would go on to believe for half a minute that the file does not exist.
    if name not in os.listdir(directory):
        raise FileNotFoundError(name)
    if stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
        raise BadRecordError("is a symbolic link")
    flags |= os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(name, flags, dir_fd=directory)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise BadRecordError("is no regular file")
        if found.st_uid != os.geteuid():
            raise BadRecordError(f"belongs to uid {found.st_uid}, not to us")
        if stat.S_IMODE(found.st_mode) & _OTHERS:
            mode = stat.S_IMODE(found.st_mode)
            raise BadRecordError(f"can be read by others (mode {mode:04o})")
        yield descriptor
    finally:
        os.close(descriptor)
