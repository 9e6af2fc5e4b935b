"""Claims: files by which processes with the same key agree which of them is first.

The first lays a claim, which says where the others can ask for their numbers
(:mod:`dask_runner.node.desk`). It refreshes the claim's time while it lives, and
removes it at its end. A claim of a process that was killed is answered by nobody. It is
not removed before there is another, since two that remove the same one could each
remove the other's: the next claim has the next number, and a file of a number can be
made once. A process that has made one looks around. If there is another that it did not
take for dead, both may be new, and it takes its own back.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner.meeting import record_directory, record_file
from dask_runner.meeting.record import BadRecordError, Record
from dask_runner.meeting.record_directory import RECORDS
from dask_runner.resources.machine import NETWORK, kind_of

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Seconds between two refreshes of a claim's time, and after which one that was not
#: refreshed, and is not answered, is of no use any more.
REFRESH_SECONDS = 5.0
STALE_SECONDS = 30.0


class Claims:
    """The claims of one key in a directory.

    Parameters
    ----------
    directory : Path
    key : str
        What the processes have in common.

    Attributes
    ----------
    directory : Path
    trouble : str
        What was seen last instead of a claim that is answered.
    """

    def __init__(self, directory: Path, key: str) -> None:
        self.directory = directory
        self.trouble = "nobody has come"
        self._key = key
        self._name = re.compile(re.escape(key) + r"\.([0-9]{1,9})\.first")
        self._dead: set[str] = set()
        self._seen: tuple[Path, Record] | None = None
        self._own: tuple[Path, Record] | None = None

    def look(self) -> Record | None:
        """Return the claim that counts; None without one that may be answered.

        Raises
        ------
        OSError, BadRecordError
            If the directory cannot be read, or is not ours.
        """
        found = self._found()
        if not found:
            return None
        number, record = found[-1]
        self._seen = self._path(number), record
        if record.nonce in self._dead:
            return None
        self.trouble = (
            f"{self._path(number)} names a process on {record.node} "
            f"({record.host}:{record.port}) that does not answer"
        )
        return record

    def is_over(self, *, gone: bool) -> bool:
        """Take the claim that was seen last for dead, if it is; return whether it is.

        Parameters
        ----------
        gone : bool
            Whether its host says that nothing of it listens there.
        """
        if self._seen is None:
            return False
        path, record = self._seen
        if not gone:
            with contextlib.suppress(OSError, BadRecordError):
                gone = record_file.age(path) > STALE_SECONDS
        if gone:
            self._dead.add(record.nonce)
        return gone

    def lay(self, record: Record) -> bool:
        """Lay a claim where no other is but dead ones; return whether it counts.

        Raises
        ------
        OSError, BadRecordError
            If it cannot be written.
        """
        number = max((number for number, _ in self._found()), default=0) + 1
        while not self._write(number, record):
            if any(other == number for other, _ in self._found()):
                return False
            number += 1  # somebody else's file has the name
        living = {r.nonce for _, r in self._found()} - self._dead
        if living != {record.nonce}:
            self.withdraw()
            return False
        for other, dead in self._found():
            if dead.nonce in self._dead:
                self._remove(self._path(other), dead)
        return True

    def _write(self, number: int, record: Record) -> bool:
        path = self._path(number)
        written = record_file.write_if_absent(path, record.dump(), record.nonce)
        if written:
            self._own = path, record
        return written

    def refresh(self) -> None:
        """Set the own claim's time to now, as the file system's server has it.

        Raises
        ------
        OSError, BadRecordError
            If it is not there any more, or its directory is not ours.
        """
        if self._own is None:
            return
        path, _ = self._own
        with record_directory.opened(path.parent) as directory:
            os.utime(path.name, dir_fd=directory, follow_symlinks=False)

    def adopt(self) -> None:
        """Answer for the claim that was seen last, whose process was killed."""
        self._own = self._seen

    def withdraw(self) -> None:
        """Remove the own claim."""
        if self._own is not None:
            self._remove(*self._own)
            self._own = None

    def _remove(self, path: Path, record: Record) -> None:
        # It may be gone, or its directory may hold other files. Its process may have
        # been killed when the claim had its name, and the name aside was still there.
        with contextlib.suppress(OSError, BadRecordError):
            record_file.remove(path, lambda text: Record.load(text) == record)
        with contextlib.suppress(OSError, BadRecordError):
            record_file.clear(path, record.nonce)

    def _found(self) -> list[tuple[int, Record]]:
        """Return the claims that can be believed, in the order of their numbers."""
        try:
            with record_directory.opened(self.directory) as directory:
                names = os.listdir(directory)  # noqa: PTH208  a descriptor
        except FileNotFoundError:
            return []
        matches = filter(None, map(self._name.fullmatch, names))
        found = []
        for number in sorted(int(match[1]) for match in matches):
            path = self._path(number)
            try:
                record = Record.load(record_file.read(path))
            except FileNotFoundError:
                continue  # it has just been removed
            except (OSError, BadRecordError) as error:
                # Another account may have laid it, to be in the way.
                self.trouble = f"{path} {getattr(error, 'strerror', None) or error}"
                continue
            if record.key == self._key:
                found.append((number, record))
        return found

    def _path(self, number: int) -> Path:
        return self.directory / f"{self._key}.{number}.first"


def place(environ: Mapping[str, str], scheduler_file: str | None) -> Path:
    """Return the directory for claims, to which all processes of a launch come.

    It is that of ``--scheduler-file``. Otherwise it is the home or the working
    directory: the first that is on a file system of several machines, else the first
    that can be written.
    """
    if scheduler_file:
        return Path(scheduler_file).expanduser().absolute().parent
    home = environ.get("HOME")
    places = [Path(home) / RECORDS] if home else []
    with contextlib.suppress(FileNotFoundError):  # it is gone, which has been said
        places.append(Path.cwd() / RECORDS)
    usable = [one for one in places if record_file.usable(one)] or places
    shared = (one for one in usable if kind_of(one) in NETWORK)
    return next(shared, usable[0] if usable else Path.cwd())
