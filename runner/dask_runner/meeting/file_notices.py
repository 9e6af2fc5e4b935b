"""Notices in files, beside the record by which the ranks meet.

::

    KEY.over    the notice, a line of JSON
                the ranks that know of it, a line for each that says so: 0,2-3

Each rank that ends by a notice signs it; one that sees that all have signed removes it.
Ranks wait for each other's signatures for a moment: some launchers end all when the
first one has. What stays after that is for ranks that are still to come; where one
never does, the user's next launch removes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from functools import partial
from typing import TYPE_CHECKING

from dask_runner.meeting import record_directory, record_file
from dask_runner.meeting.base import FIRST_POLL_SECONDS, LAST_POLL_SECONDS
from dask_runner.meeting.notice import BadNoticeError, Notice
from dask_runner.meeting.record import BadRecordError
from dask_runner.resources.cpusets import from_list_format, in_list_format

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from dask_runner.meeting.by_file import FileMeeting

#: How the names of the files end.
ENDING = ".over"

#: Seconds for which a rank that has signed waits for the others: a rank that looks for
#: a record sees the notice in half of it (``LAST_POLL_SECONDS``).
STAY_SECONDS = 3.0
#: Seconds for a rank that had not joined to see that its leader is dead, and to leave a
#: notice of that: it starts Python first.
COMES_SECONDS = 4.0

#: There is no notice, or none to believe: as good as silence.
_SILENCE = (OSError, BadRecordError, BadNoticeError)


class FileNotices:
    """Notices in the directories in which the ranks look for a record.

    Parameters
    ----------
    meeting : FileMeeting
        A notice is left in each of its directories, until one reaches all ranks.
    key : str
        The launch's.
    size : int
        How many ranks there are.
    kept : callable, optional
        Whether their launcher removes it, when the last rank has ended.
    """

    possible = True

    def __init__(
        self,
        meeting: FileMeeting,
        key: str,
        size: int,
        kept: Callable[[], bool] = lambda: False,
    ) -> None:
        places = dict.fromkeys(meeting.directories)  # each once
        self._reaches_all = meeting.reaches_all
        self._paths = tuple(place / f"{key}{ENDING}" for place in places)
        self._key = key
        self._all = frozenset(range(size))
        self._kept = kept
        self._signed: list[Path] = []

    def find(self) -> Notice | None:
        """Return the first notice to believe."""
        for path in self._paths:
            with contextlib.suppress(*_SILENCE):
                return self._read(path)[0]
        return None

    def signed(self) -> frozenset[int]:
        """Return who has signed one of the copies."""
        signed: frozenset[int] = frozenset()
        for path in self._paths:
            with contextlib.suppress(*_SILENCE):
                signed |= self._read(path)[1]
        return signed

    def leave(self, notice: Notice, signed: Iterable[int] = ()) -> bool | None:
        """Leave it in each directory that takes it."""
        signed = {notice.rank, *signed}
        if self.find() is not None:
            self.sign(signed)
            return False
        if signed >= self._all:
            return True  # nobody is left who could read it
        text = f"{notice.dump()}{in_list_format(signed)}\n"
        for path in self._paths:
            if self._lay(path, text):
                self._signed.append(path)
                if self._reaches_all(path):
                    break
        found = self.find()
        if found is None and not self._signed:
            return None
        if found in {notice, None}:
            return True
        # Another rank has left its own meanwhile, in all directories or in some.
        self.sign(signed)
        return False

    def _lay(self, path: Path, text: str) -> bool:
        try:
            if record_file.write_if_absent(path, text):
                return True
            with contextlib.suppress(BadRecordError, BadNoticeError):
                self._read(path)
                return False
            # It counts no more, or somebody has laid it to be in the way.
            record_file.write(path, text)
        except (OSError, BadRecordError):
            # Where no notice can be left, there is no record to look for either.
            return False
        return True

    def sign(self, ranks: Iterable[int]) -> None:
        """Add them to each copy; remove all copies if one has all ranks."""
        line = f"{in_list_format(ranks)}\n"
        for path in self._paths:
            with contextlib.suppress(*_SILENCE):
                self._read(path)
                record_file.append(path, line)
                self._signed.append(path)
                if self._read(path)[1] >= self._all and not self._kept():
                    self.remove()
                    return

    async def comes(self) -> None:
        """Wait until one is there, or until none may come any more."""
        latest = time.monotonic() + COMES_SECONDS
        while not self._kept() and time.monotonic() < latest:
            if self.find() is not None:
                return
            await asyncio.sleep(LAST_POLL_SECONDS / 4)

    async def taken(self) -> None:
        """Wait until a copy is gone, since all have signed it; remove the others."""
        latest, pause = time.monotonic() + STAY_SECONDS, FIRST_POLL_SECONDS
        while self._signed and not self._kept() and time.monotonic() < latest:
            if not all(map(self._is_there, self._signed)):
                self.remove()
                return
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LAST_POLL_SECONDS / 4)

    def _is_there(self, path: Path) -> bool:
        with contextlib.suppress(*_SILENCE):
            self._read(path)
            return True
        return False

    def remove(self) -> None:
        """Remove all copies."""
        for path in self._paths:
            # It is gone already, or its directory has other things in it.
            with contextlib.suppress(*_SILENCE):
                record_file.remove(path, self._is_ours)

    def sweep(self) -> None:
        """Remove notices of launches whose ranks wait for nobody any more."""
        for directory in {path.parent for path in self._paths}:
            if directory.name != record_directory.RECORDS:
                continue
            for path in sorted(directory.glob(f"*{ENDING}")):
                # It is somebody else's, or half-written; or others are beside it.
                with contextlib.suppress(*_SILENCE):
                    age = record_file.age(path)
                    record_file.remove(path, partial(_is_over, age))

    def _is_ours(self, text: str) -> bool:
        return Notice.load(text).key == self._key

    def _read(self, path: Path) -> tuple[Notice, frozenset[int]]:
        """Return the notice, and who has signed it."""
        text = record_file.read(path)
        notice = Notice.load(text)
        if notice.key != self._key:
            raise BadNoticeError(f"belongs to another launch ({notice.key})")
        if record_file.age(path) > notice.seconds:
            raise BadNoticeError("counts no more")
        signed: set[int] = set()
        # What follows the last end of a line is being written.
        for line in text.split("\n")[1:-1]:
            with contextlib.suppress(ValueError):
                signed.update(from_list_format(line))
        return notice, frozenset(signed)


def _is_over(age: float, text: str) -> bool:
    return age > Notice.load(text).seconds
