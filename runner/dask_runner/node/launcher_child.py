"""The launcher's child for a rank: this process, or a follower."""

from __future__ import annotations

import asyncio
import os
from signal import SIGKILL
from typing import TYPE_CHECKING, Protocol

from dask_runner.hub import messages as m
from dask_runner.launch.signals import FOR_THE_TOP
from dask_runner.linux import adopt_orphans
from dask_runner.node import follower
from dask_runner.node.child import awaited
from dask_runner.node.events import Source
from dask_runner.node.exits import Ended, is_stopped
from dask_runner.node.kill_timer import LAST_STEPS_SECONDS, die_in
from dask_runner.node.orphans import end_orphans
from dask_runner.node.peer import SocketPeer
from dask_runner.wire.channel import BlockingChannel

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from dask_runner.errors import RunnerError
    from dask_runner.node.events import Event
    from dask_runner.wire.message import Message

#: Seconds for a follower to end, once it has its status.
END_SECONDS = 1.0


class Launched(Protocol):
    """The launcher's child for a rank, as that rank sees it."""

    #: Its process ID; 0 for this process.
    pid: int
    #: Why it is about to be killed.
    why: str

    @property
    def running(self) -> bool:
        """Whether that process has not ended."""

    def listen(self, events: asyncio.Queue[Event]) -> None:
        """Put its signals and its end into *events*, from ``Source.launched``."""

    def joined(self) -> None:
        """Note that the rank has joined the hub."""

    def fail(self, error: RunnerError) -> bool:
        """Tell the leader of the node why the rank will not join.

        Returns
        -------
        bool
            Whether there is a leader, which reports it.
        """

    def signalled(self, number: int) -> bool:
        """Tell the leader of the node about a signal; return False without one."""

    def signal(self, number: int) -> None:
        """Send a signal to that process."""

    def die_in(self, seconds: float) -> None:
        """Have that process killed after *seconds*; 0 cancels that."""

    def end_children(self) -> None:
        """End what is left of that process's children, and have it end soon."""


class ThisProcess:
    """The launcher's child for a rank that runs in this process.

    Parameters
    ----------
    leader : socket, optional
        The connection to the leader of the node, if another rank leads it. Its messages
        and its end become events of ``Source.leader``.
    """

    pid = 0
    why = ""
    running = True

    def __init__(self, leader: socket.socket | None = None) -> None:
        self._leader = leader
        self._peer: SocketPeer | None = None

    def listen(self, events: asyncio.Queue[Event]) -> None:
        """Handle signals, and adopt orphans of the rank's processes."""
        adopt_orphans()
        loop = asyncio.get_running_loop()
        for number in FOR_THE_TOP:
            event = (Source.launched, m.Signalled(number))
            loop.add_signal_handler(number, events.put_nowait, event)
        follower.hear_signals()
        if self._leader is not None:
            meeting = self._meet(SocketPeer(Source.leader, events), self._leader)
            self._meeting = asyncio.create_task(meeting)

    async def _meet(self, peer: SocketPeer, leader: socket.socket) -> None:
        await peer.attach(leader)
        self._peer = peer

    def joined(self) -> None:
        """Do nothing: the hub ignores what the leader reports of a joined rank."""

    def fail(self, error: RunnerError) -> bool:
        """Tell the leader, if there is one."""
        return self._tell(m.Failed(error.saw, error.needed, error.do, error.status))

    def signalled(self, number: int) -> bool:
        """Tell the leader, if there is one."""
        return self._tell(m.Signalled(number))

    def _tell(self, message: Message) -> bool:
        if self._peer is not None:
            self._peer.send(message)
            return self._peer.running
        if self._leader is None:
            return False
        BlockingChannel(self._leader).send(message)
        return True

    def signal(self, number: int) -> None:
        """Do nothing: this process is running, so there is nothing to kill."""
        del number

    def die_in(self, seconds: float) -> None:
        """Have the kernel kill this process, which may be stopped by then."""
        die_in(seconds)

    def end_children(self) -> None:
        """End what is left of children, and have this process end soon.

        Ranks for which this process plays may still need theirs, to leave in order.
        """
        die_in(LAST_STEPS_SECONDS)
        end_orphans(but=awaited())


class Follower:
    """The launcher's child for a rank for which the leader plays, or may play.

    Parameters
    ----------
    reader, writer
        The connection to the follower.
    pid : int
        The follower's process ID.
    rank : int
        The follower's rank.
    tell : callable
        Takes messages for the leader's rank about what the hub cannot know: a signal to
        the follower, or its end, before its rank has joined.

    Attributes
    ----------
    left : asyncio.Task
        Done when the follower plays for itself, with the byte that says so; or when its
        connection has ended, with None.
    has_joined : bool
        Whether its rank has joined the hub.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        pid: int,
        rank: int,
        tell: Callable[[Message], None],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._rank = rank
        self._tell = tell
        self._last_words = ""
        self._early: list[int] = []
        self._events: asyncio.Queue[Event] | None = None
        self.pid = pid
        self.why = ""
        self.running = True
        self.has_joined = False
        self.left = asyncio.create_task(self._listen())

    async def _listen(self) -> int | None:
        byte = await self._byte()
        self.running = False
        if self._events is not None:
            self._events.put_nowait((Source.launched, Ended(0)))
        return byte

    async def _byte(self) -> int | None:
        try:
            while numbers := await self._reader.read(1):
                if numbers[0] in (follower.STAYS, follower.HANGS_UP):
                    return numbers[0]
                if numbers[0] in FOR_THE_TOP:
                    self._hear(numbers[0])
        except OSError:
            return None  # it was killed before it read everything
        return None

    def _hear(self, number: int) -> None:
        if self._events is None:
            self._early.append(number)
        elif self.has_joined:
            self._events.put_nowait((Source.launched, m.Signalled(number)))
        else:
            # The rank has not joined, and would end alone.
            self._tell(m.Signalled(number, self._rank))

    def tell_early(self) -> bool:
        """Report signals that came before the follower had an answer.

        Returns
        -------
        bool
            Whether one of them ended the follower.
        """
        for number in self._early:
            self._tell(m.Signalled(number, self._rank))
        return not set(self._early).isdisjoint(follower.ENDS)

    def listen(self, events: asyncio.Queue[Event]) -> None:
        """Put the follower's signals and its end into *events*."""
        self._events = events
        for number in self._early:
            self._hear(number)
        if self.left.done():
            events.put_nowait((Source.launched, Ended(0)))

    def hold(self, last_words: str) -> None:
        """Tell the follower that the leader plays for it.

        Parameters
        ----------
        last_words : str
            The line that it prints if the leader is lost after its rank has joined.
        """
        self._last_words = last_words
        self._write(follower.HELD)

    def joined(self) -> None:
        """Tell the follower that its rank has joined."""
        self.has_joined = True
        self._write(f"{follower.PLAYED} {follower.LOST} {self._last_words}")

    def fail(self, error: RunnerError) -> bool:
        """Report the error to the leader's rank."""
        self._tell(failed(self._rank, error.saw, error.needed, error.do, error.status))
        return True

    def signalled(self, number: int) -> bool:
        """Do nothing: the leader has got the signal already."""
        del number
        return False

    def send_away(self) -> None:
        """Tell the follower to play for itself."""
        self._write(follower.YOURSELF)

    def end(self, status: int) -> None:
        """Tell the follower its exit status."""
        self._write(f"{follower.END} {status}")

    async def gone(self) -> None:
        """Wait until the follower has ended, once it has its status.

        Kill it if it is stopped: its launcher would wait for it without end.
        """
        await asyncio.wait([self.left], timeout=END_SECONDS)
        if is_stopped(self.pid):
            self.signal(SIGKILL)

    def _write(self, line: str) -> None:
        self._writer.write(line.encode() + b"\n")

    def signal(self, number: int) -> None:
        """Send the follower a signal, if it has not ended."""
        if self.running:
            os.kill(self.pid, number)

    def die_in(self, seconds: float) -> None:
        """Do nothing: the leader, which plays for it, goes on."""

    def end_children(self) -> None:
        """Do nothing: a follower has no children."""


def failed(rank: int, saw: str, needed: str, do: str, status: int) -> m.Absent:
    """Return the message about a rank that has failed before it joined."""
    return m.Absent(rank, f"failed before it joined: {saw}", needed, do, status)
