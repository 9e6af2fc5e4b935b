"""The directory that a record's file is in.

An account that may write into a directory above can rename what lies there and lay
something else under its name. So a directory is opened once and looked at, and all
that follows happens relative to its descriptor.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from dask_runner.meeting.record import BadRecordError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Its name, in a home or a working directory.
RECORDS = ".dask-runner"
#: What the name of the directory begins with in which local ranks meet.
LOCAL_PREFIX = "dask-runner-local-"

_OTHERS_WRITE = 0o022


def is_own(directory: Path) -> bool:
    """Return whether its name is one of ours; any other is the user's choice."""
    return directory.name == RECORDS or directory.name.startswith(LOCAL_PREFIX)


@contextlib.contextmanager
def opened(directory: Path) -> Iterator[int]:
    """Open a directory; refuse one of ours that somebody else could have made."""
    own = is_own(directory)
    flags = os.O_RDONLY | os.O_DIRECTORY | (os.O_NOFOLLOW if own else 0)
    try:
        descriptor = os.open(directory, flags)
    except OSError as error:
        if own and directory.is_symlink():
            raise BadRecordError("is in a directory that is a symbolic link") from error
        raise
    try:
        if own:
            _check(os.fstat(descriptor))
        yield descriptor
    finally:
        os.close(descriptor)


def _check(directory: os.stat_result) -> None:
    # Its name can be known before: somebody else can have been there first.
    if directory.st_uid != os.geteuid():
        raise BadRecordError(f"is in a directory of uid {directory.st_uid}, not ours")
    mode = stat.S_IMODE(directory.st_mode)
    if mode & _OTHERS_WRITE:
        raise BadRecordError(f"is in a directory that others can write ({mode:04o})")


def make(directory: Path, mode: int, made: list[Path]) -> None:
    """Make a directory and those above it; add to *made* what was not there."""
    try:
        directory.mkdir(mode)
    except FileNotFoundError:
        if directory.parent.exists():  # gone meanwhile, or a removed directory's
            raise
        make(directory.parent, 0o777, made)
        directory.mkdir(mode)
    except OSError:
        # What the kernel says of one that is there depends on the file system.
        if directory.is_dir() or directory.is_symlink():
            return
        raise
    made.append(directory)
