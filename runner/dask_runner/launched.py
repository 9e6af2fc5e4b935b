"""The process that the launcher started for a rank: this one, or a follower."""

from __future__ import annotations

import asyncio
import os
from signal import SIGKILL
from typing import TYPE_CHECKING, Protocol

from dask_runner import messages as m
from dask_runner.deaths import Ended, is_stopped
from dask_runner.follower import SIGNALS
from dask_runner.orphans import adopt_orphans, end_orphans
from dask_runner.snapshot import take

if TYPE_CHECKING:
    from dask_runner.launch import Launch
    from dask_runner.processes import Event
    from dask_runner.snapshot import Snapshot

#: Seconds for a follower to go, once it has its status.
GOES = 1.0


class Launched(Protocol):
    """A launcher's child, as the rank that it stands for sees it."""

    #: Its process id; 0 for this process.
    pid: int
    #: Why it is about to be killed.
    why: str

    def look(self, launch: Launch) -> Snapshot:
        """Return the machine as it sees it."""

    @property
    def running(self) -> bool:
        """Whether it is still there."""

    def listen(self, events: asyncio.Queue[Event]) -> None:
        """Turn signals that it gets, and its end, into events of "launched"."""

    def signal(self, number: int) -> None:
        """Send it a signal."""

    def settle(self) -> None:
        """Leave none of its children behind."""


class ThisProcess:
    """The rank is played by the process that the launcher started for it."""

    pid = 0
    why = ""
    running = True

    def look(self, launch: Launch) -> Snapshot:
        """Read the machine."""
        return take(launch.environ, launch.settings.local_directory)

    def listen(self, events: asyncio.Queue[Event]) -> None:
        """Hear signals, and take what is left of the rank's processes."""
        adopt_orphans()
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            event = ("launched", m.Signalled(number))
            loop.add_signal_handler(number, events.put_nowait, event)

    def signal(self, number: int) -> None:
        """Who is asked is not stopped, and need not be killed."""
        del number

    def settle(self) -> None:
        """Leave none of this process's children behind."""
        end_orphans()


class Follower:
    """The rank is played by the leader of its node.

    Parameters
    ----------
    reader, writer
        The connection with it.
    pid : int
        Its process id.
    snapshot : Snapshot
        The machine as it sees it.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        pid: int,
        snapshot: Snapshot,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._snapshot = snapshot
        self.pid = pid
        self.why = ""
        self.running = True

    def look(self, launch: Launch) -> Snapshot:
        """Return what was read when it came."""
        del launch
        return self._snapshot

    def listen(self, events: asyncio.Queue[Event]) -> None:
        """Hear what it passes on."""
        self._listening = asyncio.create_task(self._listen(events))

    async def _listen(self, events: asyncio.Queue[Event]) -> None:
        try:
            while numbers := await self._reader.read(1):
                if numbers[0] in SIGNALS:
                    await events.put(("launched", m.Signalled(numbers[0])))
        except OSError:
            # Killed with something of ours unread: an end like the other.
            pass
        self.running = False
        await events.put(("launched", Ended(0)))

    def accept(self, last_words: str) -> None:
        """Tell it that its part is played, and what to say if we are lost."""
        self._write(last_words)

    async def end(self, status: int) -> None:
        """Tell it the exit status, and wait until it has gone.

        Its launcher waits for one that is stopped, for ever if nobody ends it.
        """
        self._write(str(status))
        await asyncio.wait([self._listening], timeout=GOES)
        if is_stopped(self.pid):
            self.signal(SIGKILL)

    def _write(self, line: str) -> None:
        self._writer.write(line.encode() + b"\n")

    def signal(self, number: int) -> None:
        """Send it a signal, if it is still there."""
        if self.running:
            os.kill(self.pid, number)

    def settle(self) -> None:
        """Nothing: it has no children."""
