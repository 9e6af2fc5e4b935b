"""How ranks that are handed out meet: over their connections with rank 0's desk."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from dask_runner.errors import RunnerError
from dask_runner.meeting.relay import RelayMeeting
from dask_runner.node.at_desk import DeskNotices

if TYPE_CHECKING:
    from collections.abc import Callable

    from dask_runner.meeting.by_file import FileMeeting
    from dask_runner.meeting.notice import Notice
    from dask_runner.meeting.record import Record
    from dask_runner.node.at_desk import AtDesk
    from dask_runner.node.desk import Desk
    from dask_runner.node.first_come import FirstCome
    from dask_runner.wire.message import Message


class DeskMeeting(RelayMeeting):
    """The record travels from rank 0's desk to the processes that are connected there.

    Parameters
    ----------
    side : First or Other
        What this process does for it.
    file : FileMeeting, optional
        Where rank 0 writes the record as well: the file that the user has named.

    Attributes
    ----------
    listen : callable
        Takes a function that is to be told of ranks that are absent.
    """

    collective = False

    def __init__(self, side: First | Other, file: FileMeeting | None = None) -> None:
        notices = DeskNotices(side.tell, prints=side.prints)
        super().__init__(
            side.hand_over,
            waits=lambda: "it has not opened the hub yet",
            finished=side.leave,
            notices=notices,
        )
        self.listen = side.listen
        self._side = side
        self._file = file

    async def publish(self, record: Record) -> None:
        """Send the record to all ranks, and write the file."""
        await super().publish(record)
        if self._file is not None:
            await self._file.publish(record)

    @property
    def files(self) -> tuple[str, ...]:
        """The file, if there is one."""
        return self._file.files if self._file is not None else ()

    def adopt(self, nonce: str) -> None:
        """Answer for the files of a rank 0 that is gone."""
        self._side.adopt()
        if self._file is not None:
            self._file.adopt(nonce)

    def withdraw(self) -> None:
        """Remove the file."""
        self._side.withdraw()
        if self._file is not None:
            self._file.withdraw()


class First:
    """What the first process does for its meeting."""

    prints = True

    def __init__(self, desk: Desk, way: FirstCome) -> None:
        self._desk = desk
        self._way = way
        self._keeping = asyncio.create_task(way.keep())

    async def hand_over(self, text: str | None) -> str:
        """Give the record to all."""
        self._desk.give(text or "")
        return text or ""

    def listen(self, hear: Callable[[Message], None]) -> None:
        """Have *hear* told of ranks that are absent."""
        self._desk.listen(hear)

    def tell(self, notice: Notice) -> None:
        """Tell all others that the launch is over."""
        error = RunnerError(notice.saw, notice.needed, notice.do)
        error.status = notice.status
        self._desk.end(error)

    def adopt(self) -> None:
        """Do nothing: this is rank 0."""

    def withdraw(self) -> None:
        """Do nothing yet: processes that come now are told that the launch is full."""

    async def leave(self) -> None:
        """Take the claim back, and close the desk."""
        self._keeping.cancel()
        self._way.withdraw()
        await self._desk.shut()


class Other:
    """What another process does for its meeting."""

    prints = False

    def __init__(self, at_desk: AtDesk, way: FirstCome) -> None:
        self._at_desk = at_desk
        self.leave = at_desk.leave
        self.adopt = way.adopt
        self.withdraw = way.withdraw

    async def hand_over(self, text: str | None) -> str:
        """Wait for the record."""
        del text
        return await self._at_desk.record()

    def listen(self, hear: Callable[[Message], None]) -> None:
        """Do nothing: rank 0 is told."""

    def tell(self, notice: Notice) -> None:
        """Tell rank 0 that this process cannot join."""
        self._at_desk.fail(notice)
