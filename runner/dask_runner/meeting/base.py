"""What every way can do by which the record travels from rank 0 to the others.

Rank 0 publishes the record; the others look for it until they have spoken to the hub
that it names.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from dask_runner.errors import AssemblyError
from dask_runner.meeting.notice import NoNotices

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dask_runner.meeting.notice import Notices
    from dask_runner.meeting.record import Record

#: Seconds between looks for a record: a thousand nodes must not hammer a file
#: system or a hub, and a cluster of two must not wait for it.
FIRST_POLL_SECONDS = 0.02
LAST_POLL_SECONDS = 1.0


class UnusableError(Exception):
    """No rank of the launch can go this way; the text says why."""


class Meeting(ABC):
    """A way for the record to travel from rank 0 to the others.

    Each way has three members of its own; the others have defaults, for one that leaves
    nothing behind.
    """

    #: Whether every rank has to come itself, as to a broadcast of MPI.
    collective = False

    @abstractmethod
    async def publish(self, record: Record) -> None:
        """Make the record known (rank 0)."""

    @abstractmethod
    def records(self) -> AsyncIterator[Record]:
        """Yield what is found, again and again, for as long as it is asked."""

    @property
    @abstractmethod
    def trouble(self) -> str:
        """What was seen last instead of a good record."""

    def waited(self, rank: int, node: str, since: float) -> AssemblyError:
        """Return the error of a rank that has not found the record in time.

        Parameters
        ----------
        rank : int
        node : str
            The name of its host.
        since : float
            The time, by :func:`time.monotonic`, at which it began to look.
        """
        seconds = time.monotonic() - since
        return AssemblyError(
            f"rank {rank} on {node} waited {seconds:.0f} s for rank 0: {self.trouble}",
            "rank 0 running, and a way to it",
            "look for an error of rank 0 above; name another directory that the nodes "
            "share with --scheduler-file; give more time with --timeout",
        )

    @property
    def notices(self) -> Notices:
        """Where ranks that do not meet leave a notice of why the launch is over."""
        return NoNotices()

    @property
    def has_come(self) -> bool:
        """Whether the record is here, fresh from rank 0, so that its hub answers."""
        return False

    @property
    def files(self) -> tuple[str, ...]:
        """Where this rank may write the record."""
        return ()

    async def finished(self) -> None:  # noqa: B027  nothing is, by default
        """Wait until nothing of it is under way."""

    def adopt(self, nonce: str) -> None:  # noqa: B027  as above
        """Answer for the record of a rank 0 that is gone (another rank)."""

    def withdraw(self) -> None:  # noqa: B027  as above
        """Leave nothing behind (rank 0, and the rank that has adopted its record)."""


class NoMeeting(Meeting):
    """One rank has nobody to meet: it knows its own hub."""

    trouble = "there is nobody to meet"

    async def publish(self, record: Record) -> None:
        """Do nothing: nobody looks for it."""

    async def records(self) -> AsyncIterator[Record]:
        """Offer nothing."""
        return
        yield  # a generator, that never does
