"""The processes of a rank, seen from its top process.

Each process is a child of the top process, in a process group of its own. A socket pair
connects them: it carries messages, and its end of file shows either side at once that
the other has ended. The agent is a fresh Python; it imports Dask and forks the other
processes (:mod:`dask_runner.programs.fork`). None is the launcher's child, so the
launcher does not end the job when one of them dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dask_runner.hub.channel import Channel, open_channel
from dask_runner.hub.messages import Bye, Message, ProtocolError
from dask_runner.node.exits import Ended, Kills

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dask_runner.node.events import Event, Source

#: Seconds between SIGTERM and SIGKILL for a rank's processes.
PATIENCE = 3.0


#: Seconds between checks of a child, where the kernel cannot report its end.
CHECK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Sibling:
    """A process that the agent forks beside itself.

    Attributes
    ----------
    name : str
        Its module in :mod:`dask_runner.programs`.
    lifeline, log : int, str
        Its end of a socket pair, and its log.
    stdin : int
        The descriptor of its standard input; -1 for none.
    opened : list of int
        Descriptors that it has open with these numbers.
    """

    name: str
    lifeline: int
    log: str
    stdin: int = -1
    opened: list[int] = field(default_factory=list)

    def close(self) -> None:
        """Close the descriptors that only this process uses."""
        os.close(self.lifeline)
        if self.stdin >= 0:
            os.close(self.stdin)
        for descriptor in self.opened:
            os.close(descriptor)


# The tasks that listen to peers. Nothing else refers to the one of a disowned peer,
# which would be garbage-collected in the middle of a message.
_pumps: set[asyncio.Task[None]] = set()


class Peer:
    """A process at the other end of a socket: a child, or another rank's agent.

    Parameters
    ----------
    name : Source
        Its name in the events.
    events : asyncio.Queue
        Gets ``(name, message)`` for each message and ``(name, Ended)`` once.
    """

    def __init__(self, name: Source, events: asyncio.Queue[Event]) -> None:
        self.name = name
        self._events = events
        self._channel: Channel | None = None
        self._over = asyncio.Event()
        self._work_over = asyncio.Event()
        self._disowned = False
        #: The process ID; 0 for another rank's, or before the process exists.
        self.pid = 0
        #: Why it is about to be killed.
        self.why = ""

    async def attach(self, sock: socket.socket) -> None:
        """Use a connected socket for messages to the process."""
        self._channel = channel = await open_channel(sock)
        pump = asyncio.create_task(self._listen(channel), name=f"listen to {self.name}")
        _pumps.add(pump)
        pump.add_done_callback(_pumps.discard)

    async def _listen(self, channel: Channel) -> None:
        try:
            while (message := await channel.receive()) is not None:
                if isinstance(message, Bye):
                    self._work_over.set()
                else:
                    await self._events.put((self.name, message))
        except ProtocolError:
            # It sent garbage over its lifeline, so it cannot be used.
            self.kill()
        ended = await self._wait()
        channel.close()
        self._work_over.set()
        self._over.set()
        if ended is not None and not self._disowned:
            await self._events.put((self.name, ended))

    def disown(self) -> None:
        """Ignore the process from now on: another takes its place."""
        self._disowned = True

    async def _wait(self) -> Ended | None:
        """Return how the process ended; None if it never began."""
        return Ended(0, known=False)

    def kill(self) -> None:
        """Close the connection, which makes the process end."""
        if self._channel is not None:
            self._channel.close()

    def signal(self, number: int) -> None:
        """Send a signal to the process, if it is a child."""

    @property
    def running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._channel is not None and not self._over.is_set()

    def send(self, message: Message) -> None:
        """Send a message to the process."""
        if self._channel is not None:
            self._channel.send(message)

    async def finish(self, patience: float, ask: Message) -> None:
        """Ask the process to end its work but to stay; kill it after *patience*."""
        if not self.running or self._work_over.is_set():
            return
        self.send(ask)
        try:
            async with asyncio.timeout(patience):
                await self._work_over.wait()
        except TimeoutError:
            self.kill()
            await self._over.wait()

    async def stop(self, patience: float, *, ask: Message | None) -> None:
        """Ask the process to end; kill it after *patience*."""
        if not self.running:
            return
        if ask is not None:
            self.send(ask)
        await self.wait(patience)

    async def wait(self, patience: float) -> None:
        """Wait until the process has ended; kill it after *patience*."""
        if not self.running:
            return
        try:
            async with asyncio.timeout(patience):
                await self._over.wait()
        except TimeoutError:
            self.kill()
            await self._over.wait()


class Process(Peer):
    """One process of a rank: started by :meth:`start`, or forked by the agent.

    Its module is *name* in :mod:`dask_runner.programs`.
    """

    def __init__(self, name: Source, events: asyncio.Queue[Event]) -> None:
        super().__init__(name, events)
        self._status: asyncio.Future[int] | None = None

    async def attach(self, sock: socket.socket) -> None:
        """Use a socket for messages; count kills for memory from now on."""
        self._kills = Kills()
        await super().attach(sock)
        if self._status is not None:
            self._status.add_done_callback(self._hear_out)

    def _hear_out(self, _: asyncio.Future[int]) -> None:
        """Expect no more messages: forks of the process keep its lifeline open."""
        if self._channel is not None:
            self._channel.hear_out()

    async def start(
        self,
        environ: Mapping[str, str],
        log: str,
        stdin: int | None = subprocess.DEVNULL,
        stderr: int | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        """Start the process with the log file *log*; its instructions come later."""
        ours, theirs = socket.socketpair()
        with theirs, deaf_at_first():
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                # Without the working directory: a random.py there is the user's.
                "-P",
                "-m",
                f"dask_runner.programs.{self.name}",
                str(theirs.fileno()),
                log,
                env=dict(environ),
                stdin=stdin,
                stderr=stderr,
                pass_fds=(theirs.fileno(), *pass_fds),
                process_group=0,
            )
        self.pid = process.pid
        self._status = asyncio.ensure_future(process.wait())
        await self.attach(ours)

    async def expect(self) -> socket.socket:
        """Return the other end of the lifeline, for a process that the agent forks."""
        ours, theirs = socket.socketpair()
        await self.attach(ours)
        return theirs

    def born(self, pid: int) -> None:
        """Note the ID of a process that was forked and is a child of this one."""
        self.pid = pid
        self._status = asyncio.ensure_future(_status_of(pid))
        self._status.add_done_callback(self._hear_out)

    async def _wait(self) -> Ended | None:
        if self._status is None:
            return None
        status = await self._status
        return Ended(status, self.why or self._kills.why(status))

    def kill(self) -> None:
        """Kill the process and all that it has started."""
        self.signal(signal.SIGKILL)
        if self._status is None:
            super().kill()

    def signal(self, number: int) -> None:
        """Send a signal to the process and to all that it has started."""
        if self._status is None or self._status.done():
            return
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return

    async def stop(
        self, patience: float = PATIENCE, *, ask: Message | None = None
    ) -> None:
        """Ask the process to end, by a message or SIGTERM; kill it after *patience*."""
        if ask is None:
            self.signal(signal.SIGTERM)
        await super().stop(patience, ask=ask)


#: Signals that all processes of a job may get, and that the top process handles.
FOR_THE_TOP = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


@contextlib.contextmanager
def deaf_at_first() -> Iterator[None]:
    """Block these signals in a new process until it has handlers for them."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, FOR_THE_TOP)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


async def _status_of(pid: int) -> int:
    """Wait for a child without a thread, because the system may refuse threads."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        # An old kernel has no pidfd, so the child is checked again and again.
        while (status := _reap(pid)) is None:  # noqa: ASYNC110
            await asyncio.sleep(CHECK_SECONDS)
        return status
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    return _status_of_ended(pid)


def _status_of_ended(pid: int) -> int:
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def _reap(pid: int) -> int | None:
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None
