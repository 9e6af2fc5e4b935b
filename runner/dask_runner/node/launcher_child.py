"""The process that the launcher started for a rank: this one, or a follower."""

from __future__ import annotations

import asyncio
import os
from math import ceil
from signal import SIGKILL
from typing import TYPE_CHECKING, Protocol

from dask_runner.hub import messages as m
from dask_runner.hub.channel import BlockingChannel
from dask_runner.node import follower
from dask_runner.node.child import Peer
from dask_runner.node.exits import Ended, is_stopped
from dask_runner.node.orphans import LAST, adopt_orphans, die_in, end_orphans
from dask_runner.resources.machine import take

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from dask_runner.errors import RunnerError
    from dask_runner.launch.launch import Launch
    from dask_runner.node.child import Event
    from dask_runner.resources.machine import Snapshot

#: Seconds for a follower to go, once it has its status.
GOES = 1.0


class Launched(Protocol):
    """A launcher's child, as the rank that it stands for sees it."""

    #: Its process id; 0 for this process.
    pid: int
    #: Why it is about to be killed.
    why: str
    #: Where the rank's directory is made; empty where the rank chooses.
    scratch: str

    def look(self, launch: Launch) -> Snapshot:
        """Return the machine as it sees it."""

    @property
    def running(self) -> bool:
        """Whether it is still there."""

    def listen(self, events: asyncio.Queue[Event]) -> None:
        """Turn signals that it gets, and its end, into events of "launched"."""

    def joined(self) -> None:
        """Take note that the hub knows the rank."""

    def fail(self, error: RunnerError) -> bool:
        """Tell the leader of the node why the rank will not join.

        Returns
        -------
        bool
            Whether there is one, which says it.
        """

    def signalled(self, number: int) -> bool:
        """Tell the leader of the node of a signal; say whether there is one."""

    def signal(self, number: int) -> None:
        """Send it a signal."""

    def die_in(self, seconds: float) -> None:
        """Let it be killed if it is there after so many seconds; 0: let it live."""

    def settle(self) -> None:
        """Leave none of its children behind, and be gone soon."""


class ThisProcess:
    """The rank is played by the process that the launcher started for it.

    Parameters
    ----------
    leader : socket, optional
        The connection with the leader of its node, if that is another rank's. What it
        says, and its end, become events of "leader".
    """

    pid = 0
    why = ""
    scratch = ""
    running = True

    def __init__(self, leader: socket.socket | None = None) -> None:
        self._leader = leader
        self._peer: Peer | None = None

    def look(self, launch: Launch) -> Snapshot:
        """Read the machine."""
        return take(launch.environ, launch.settings.local_directory)

    def listen(self, events: asyncio.Queue[Event]) -> None:
        """Hear signals, and take what is left of the rank's processes."""
        adopt_orphans()
        loop = asyncio.get_running_loop()
        for number in follower.SIGNALS:
            event = ("launched", m.Signalled(number))
            loop.add_signal_handler(number, events.put_nowait, event)
        follower.hear_signals()
        if self._leader is not None:
            meeting = self._meet(Peer("leader", events), self._leader)
            self._meeting = asyncio.create_task(meeting)

    async def _meet(self, peer: Peer, leader: socket.socket) -> None:
        await peer.attach(leader)
        self._peer = peer

    def joined(self) -> None:
        """Nothing: the leader may tell of our end, which the hub knows."""

    def fail(self, error: RunnerError) -> bool:
        """Tell the leader, if there is one."""
        return self._tell(m.Failed(error.saw, error.needed, error.do, error.status))

    def signalled(self, number: int) -> bool:
        """Tell the leader, if there is one."""
        return self._tell(m.Signalled(number))

    def _tell(self, message: m.Message) -> bool:
        if self._peer is not None:
            self._peer.send(message)
            return self._peer.running
        if self._leader is None:
            return False
        BlockingChannel(self._leader).send(message)
        return True

    def signal(self, number: int) -> None:
        """Who is asked is not stopped, and need not be killed."""
        del number

    def die_in(self, seconds: float) -> None:
        """Let the kernel see to it: whoever is stopped hears nothing else."""
        die_in(ceil(seconds))

    def settle(self) -> None:
        """Leave none of this process's children behind, and be gone soon."""
        die_in(LAST)
        end_orphans()


class Follower:
    """The rank is played by the leader of its node, or will be, or was to be.

    Parameters
    ----------
    reader, writer
        The connection with it.
    pid : int
        Its process id.
    rank : int
        Its rank.
    tell : callable
        Tells the leader's rank of what the hub cannot know: a signal, or an end,
        before the follower has joined.

    Attributes
    ----------
    left : asyncio.Task
        Done when it plays its part itself, with the byte that says so; or when its
        connection has ended, with None.
    has_joined : bool
        Whether the hub knows it.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        pid: int,
        rank: int,
        tell: Callable[[m.Message], None],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._rank = rank
        self._tell = tell
        self._snapshot: Snapshot | None = None
        self._last_words = ""
        self._early: list[int] = []
        self._events: asyncio.Queue[Event] | None = None
        self.pid = pid
        self.why = ""
        self.scratch = ""
        self.running = True
        self.has_joined = False
        self.left = asyncio.create_task(self._listen())

    async def _listen(self) -> int | None:
        byte = await self._byte()
        self.running = False
        if self._events is not None:
            self._events.put_nowait(("launched", Ended(0)))
        return byte

    async def _byte(self) -> int | None:
        try:
            while numbers := await self._reader.read(1):
                if numbers[0] in (follower.STAYS, follower.HANGS_UP):
                    return numbers[0]
                if numbers[0] in follower.SIGNALS:
                    self._hear(numbers[0])
        except OSError:
            return None  # killed with something of ours unread
        return None

    def _hear(self, number: int) -> None:
        if self._events is None:
            self._early.append(number)
        elif self.has_joined:
            self._events.put_nowait(("launched", m.Signalled(number)))
        else:
            # Nobody knows this rank: it would end alone.
            self._tell(m.Signalled(number, self._rank))

    def tell_early(self) -> bool:
        """Tell the leader's rank of the signals that came before an answer.

        Returns
        -------
        bool
            Whether it ended by one.
        """
        for number in self._early:
            self._tell(m.Signalled(number, self._rank))
        return not set(self._early).isdisjoint(follower.ENDS)

    def look(self, launch: Launch) -> Snapshot:
        """Return what was read when it came."""
        del launch
        assert self._snapshot is not None  # noqa: S101  played with one
        return self._snapshot

    def listen(self, events: asyncio.Queue[Event]) -> None:
        """Turn what it passes on, and its end, into events."""
        self._events = events
        for number in self._early:
            self._hear(number)
        if self.left.done():
            events.put_nowait(("launched", Ended(0)))

    def hold(self, snapshot: Snapshot, last_words: str) -> None:
        """Tell it that its part is played.

        Parameters
        ----------
        snapshot : Snapshot
            The machine as it sees it.
        last_words : str
            What it is to say if we are lost once it has joined.
        """
        self._snapshot = snapshot
        self._last_words = last_words
        self._write(follower.HELD)

    def joined(self) -> None:
        """Tell it that its end is known to others from now on, and ours."""
        self.has_joined = True
        self._write(f"{follower.PLAYED} {follower.LOST} {self._last_words}")

    def fail(self, error: RunnerError) -> bool:
        """Tell the leader's rank."""
        self._tell(failed(self._rank, error.saw, error.needed, error.do, error.status))
        return True

    def signalled(self, number: int) -> bool:
        """Nothing: it was the leader that was told of it."""
        del number
        return False

    def send_away(self) -> None:
        """Tell it to play its part itself."""
        self._write(follower.YOURSELF)

    def end(self, status: int) -> None:
        """Tell it the exit status."""
        self._write(f"{follower.END} {status}")

    async def gone(self) -> None:
        """Wait until it has gone, once it has its status.

        Its launcher waits for one that is stopped, for ever if nobody ends it.
        """
        await asyncio.wait([self.left], timeout=GOES)
        if is_stopped(self.pid):
            self.signal(SIGKILL)

    def _write(self, line: str) -> None:
        self._writer.write(line.encode() + b"\n")

    def signal(self, number: int) -> None:
        """Send it a signal, if it is still there."""
        if self.running:
            os.kill(self.pid, number)

    def die_in(self, seconds: float) -> None:
        """Nothing: who plays it goes on."""

    def settle(self) -> None:
        """Nothing: it has no children."""


def failed(rank: int, saw: str, needed: str, do: str, status: int) -> m.Absent:
    """Say that a rank has failed, before it joined."""
    return m.Absent(rank, f"failed before it joined: {saw}", needed, do, status)
