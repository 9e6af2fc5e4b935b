"""A meeting by one broadcast, from rank 0 to all others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from dask_runner.errors import AssemblyError, ConfigError
from dask_runner.meeting.base import FIRST_POLL_SECONDS, LAST_POLL_SECONDS, Meeting
from dask_runner.meeting.notice import NoNotices
from dask_runner.meeting.record import BadRecordError, Record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from dask_runner.meeting.notice import Notices

#: Part of the time for all to arrive in which rank 0 has to hand its record over,
#: where that takes all ranks: its report says more than that nobody arrived.
HAND_OVER = 0.9


class HandOver(Protocol):
    """A collective broadcast from rank 0."""

    async def __call__(self, text: str | None) -> str:
        """Send (rank 0) or receive (None) the record's text.

        Raises
        ------
        UnusableError
            If no rank can, and they may meet in another way.
        RunnerError
            If this rank cannot.
        """


class RelayMeeting(Meeting):
    """The record travels in one broadcast, which somebody else makes.

    Parameters
    ----------
    hand_over : callable
        Coroutine function: rank 0 gives the record's text, the others None;
        returns the text of the record at every rank.
    waits : callable, optional
        Says what is waited for while it has not come.
    finished : callable, optional
        Coroutine function: what :meth:`finished` does.
    seconds : float, optional
        For all ranks to arrive. Rank 0 hands the record over before; the other
        ranks' time is their caller's.
    notices : Notices, optional
        Where notices go.
    """

    collective = True

    def __init__(
        self,
        hand_over: HandOver,
        *,
        waits: Callable[[], str] = lambda: "its record has not come",
        finished: Callable[[], Awaitable[None]] | None = None,
        seconds: float | None = None,
        notices: Notices | None = None,
    ) -> None:
        self._notices = notices or NoNotices()
        self._hand_over = hand_over
        self._waits = waits
        self._finished = finished
        self._seconds = seconds and seconds * HAND_OVER
        self._record: Record | None = None

    @property
    def notices(self) -> Notices:
        """Where notices go."""
        return self._notices

    async def publish(self, record: Record) -> None:
        """Hand it over, once; what is new later goes over the hub.

        Raises
        ------
        AssemblyError
            If the others do not take it in time.
        """
        if self._record is not None:
            return
        try:
            async with asyncio.timeout(self._seconds):
                await self._hand_over(record.dump())
        except TimeoutError as error:
            raise AssemblyError(
                f"rank 0 waited {self._seconds:.0f} s for the other ranks: "
                f"{self._waits()}",
                "all ranks that the launcher has started, each running dask-runner",
                "look for errors of these ranks above; give more time with --timeout",
            ) from error
        self._record = record

    async def records(self) -> AsyncIterator[Record]:
        """Receive the record, then offer it again and again."""
        try:
            record = Record.load(await self._hand_over(None))
        except BadRecordError as error:
            raise ConfigError(
                f"the record that rank 0 handed over {error}",
                "the same dask-runner in all ranks",
                "start all ranks from one image",
            ) from error
        self._record = record
        pause = FIRST_POLL_SECONDS
        while True:
            yield record
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LAST_POLL_SECONDS)

    @property
    def has_come(self) -> bool:
        """Whether it has been handed over."""
        return self._record is not None

    async def finished(self) -> None:
        """Wait until whatever carries the record has ended."""
        if self._finished is not None:
            await self._finished()

    @property
    def trouble(self) -> str:
        """What is waited for."""
        if self._record is None:
            return self._waits()
        hub = f"{self._record.host}:{self._record.port}"
        return f"the hub on {self._record.node} ({hub}) is silent"
