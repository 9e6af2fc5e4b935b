"""Files below a directory of the machine, and nothing else of the machine."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Names in one directory that are looked at; no installation has more.
MOST_NAMES = 1_000_000

# A directory need not be readable where the next name is known, only searchable.
_SEARCH = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Reading a regular file never waits; one that was replaced by a FIFO meanwhile would.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def _not_regular() -> OSError:
    return OSError(errno.EINVAL, "not a regular file")


class Files(Protocol):
    """What a :class:`~dask_runner.mpi.abi.root.Root` asks of the place of its files.

    Paths begin with a slash at the top of the place, and no part of them but the last
    is a link.
    """

    def target(self, path: str) -> str | None:
        """Return where a link leads; None for what is no link."""

    def mode(self, path: str) -> int | None:
        """Return the kind, as in ``st_mode``; None for what is not there."""

    def names(self, path: str) -> list[str]:
        """List a directory, or raise an OSError."""

    def open(self, path: str) -> BinaryIO:
        """Open a regular file, or raise an OSError."""


class Disk:
    """A directory of the machine.

    What is opened is reached part by part without following a link, so that nothing
    outside is opened, even if somebody else changes the directory meanwhile.

    Parameters
    ----------
    top : Path
    """

    def __init__(self, top: Path) -> None:
        self.top = top.absolute()

    def __str__(self) -> str:
        return str(self.top)

    def target(self, path: str) -> str | None:
        """Return where a link leads; None for what is no link."""
        try:
            return os.readlink(self._outside(path))  # noqa: PTH115  text, as it is
        except (OSError, ValueError):
            # Not there, no link, or no name that the system could have.
            return None

    def mode(self, path: str) -> int | None:
        """Return the kind, as in ``st_mode``; None for what is not there."""
        try:
            return os.lstat(self._outside(path)).st_mode
        except (OSError, ValueError):
            return None

    def names(self, path: str) -> list[str]:
        """List a directory."""
        with self._directory(path) as directory:
            opened = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=directory)
        try:
            with os.scandir(opened) as found:
                return sorted(each.name for each in islice(found, MOST_NAMES))
        finally:
            os.close(opened)

    def open(self, path: str) -> BinaryIO:
        """Open a regular file; of nothing else even the device is opened."""
        above, _, name = path.rpartition("/")
        with self._directory(above) as directory:
            if not stat.S_ISREG(
                os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
            ):
                raise _not_regular()
            descriptor = os.open(name, _READ, dir_fd=directory)
        stream = os.fdopen(descriptor, "rb")
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            stream.close()
            raise _not_regular()
        return stream

    def _outside(self, path: str) -> str:
        return f"{self.top}/{path.lstrip('/')}"

    @contextmanager
    def _directory(self, path: str) -> Iterator[int]:
        here = os.open(self.top, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in filter(None, path.split("/")):
                below = os.open(part, _SEARCH, dir_fd=here)
                os.close(here)
                here = below
            yield here
        finally:
            os.close(here)
