"""A process at the desk of its launch (:mod:`dask_runner.node.desk`)."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from dask_runner.errors import (
    AssemblyError,
    ConfigError,
    LostError,
    RunnerError,
    UnavailableError,
    UsageError,
)
from dask_runner.meeting.notice import Notice, OverError
from dask_runner.node import desk_messages as d
from dask_runner.node.desk import place
from dask_runner.wire.message import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dask_runner.wire.channel import Channel

_KINDS = (UsageError, ConfigError, AssemblyError, UnavailableError, LostError)
_BY_STATUS = {kind.status: kind for kind in _KINDS}


class UnansweredError(Exception):
    """The desk has closed before it said anything: another process is the first."""


class AtDesk:
    """One process's conversation with the desk.

    Parameters
    ----------
    channel : Channel
    size : int
        The number of ranks, as the process knows it.
    desk : str
        Where the desk is, in words.

    Attributes
    ----------
    came : int
        How many processes had come when the desk last said it.
    """

    def __init__(self, channel: Channel, size: int, desk: str) -> None:
        self._channel = channel
        self._size = size
        self._desk = desk
        self._seat = d.Seat(-1, 0, 0, "")
        self.came = 1

    async def sit_down(self, rank: int = -1) -> d.Seat:
        """Ask for this process's place in the launch; wait until all have theirs.

        Parameters
        ----------
        rank : int
            The number that the launcher has given it; otherwise -1.

        Raises
        ------
        RunnerError
            If it gets none.
        UnansweredError
            If there is no desk after all.
        """
        answered = False
        come = d.Come(self._size, socket.gethostname(), place(), rank)
        self._channel.send(come)
        while True:
            message = await self._received()
            if isinstance(message, d.Waiting):
                self.came, answered = message.came, True
            elif isinstance(message, d.TurnedAway):
                raise _refused(message)
            elif isinstance(message, d.Seat):
                self._seat = message
                return message
            elif not answered:
                raise UnansweredError
            else:
                raise AssemblyError(
                    f"the first process of this launch, {self._desk}, ended before all "
                    f"had come: {self.came} of {self._size}",
                    f"all {self._size} processes at the same time",
                    "look above, and in the accounting of what started it, for what "
                    "ended it; start all again",
                )

    async def record(self) -> str:
        """Wait for the hub's record; return its text.

        Raises
        ------
        RunnerError
            If there will be none.
        """
        while True:
            message = await self._received()
            if isinstance(message, d.TheRecord):
                return message.text
            if isinstance(message, d.TurnedAway):
                raise OverError(self._notice(message))
            if message is None:
                raise AssemblyError(
                    f"rank 0, {self._desk}, died before the ranks had met",
                    f"all {self._size} ranks",
                    "look above, and in the accounting of what started it, for what "
                    "ended it; start all again",
                )

    async def _received(self) -> object:
        try:
            return await self._channel.receive()
        except ProtocolError:
            return None  # it talks nonsense, so it counts as gone

    def _notice(self, message: d.TurnedAway) -> Notice:
        parts = message.saw, message.needed, message.do
        where = self._seat.key, 0, self._desk, message.status
        return Notice(*where, *parts, 0.0, message.said)

    def fail(self, notice: Notice) -> None:
        """Report to the desk why this process cannot join."""
        self._channel.send(d.Fails(notice.saw, notice.needed, notice.do, notice.status))

    async def leave(self) -> None:
        """Close the connection, when what was said has left."""
        await self._channel.closed()


def _refused(message: d.TurnedAway) -> RunnerError:
    kind = _BY_STATUS.get(message.status, RunnerError)
    error = kind(message.saw, message.needed, message.do)
    error.status = message.status
    error.printed = message.said
    return error


class DeskNotices:
    """Notices of a launch whose ranks are connected with its desk.

    Who leaves one tells the desk of it, or from the desk all others. Nothing stays.

    Parameters
    ----------
    tell : callable
        Tells the other side of a notice.
    prints : bool
        Whether this side prints it.
    """

    possible = True

    def __init__(self, tell: Callable[[Notice], None], *, prints: bool) -> None:
        self._tell = tell
        self._prints = prints

    def find(self) -> Notice | None:
        """Return None: the connection brings them."""
        return None

    def signed(self) -> frozenset[int]:
        """Return nobody."""
        return frozenset()

    def leave(self, notice: Notice, signed: Iterable[int] = ()) -> bool | None:
        """Tell the other side; return whether this one prints it."""
        del signed
        self._tell(notice)
        return self._prints

    def sign(self, ranks: Iterable[int]) -> None:
        """Do nothing."""

    async def comes(self) -> None:
        """Do nothing: nobody is told by another than the desk."""

    async def taken(self) -> None:
        """Do nothing: the connection's end comes behind what was said."""

    def sweep(self) -> None:
        """Do nothing: there are no files."""
