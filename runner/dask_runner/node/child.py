"""The processes of a rank, seen from its top process.

Each is a child of the top process in a process group of its own, joined to it by
a socket pair: messages go over it, and its end of file tells either side at once
that the other is gone. The agent is a fresh Python; it imports Dask and forks the
others (:mod:`dask_runner.programs.fork`). None is the launcher's child, so the
launcher does not take the job down when one of them dies.
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

#: Seconds between SIGTERM and SIGKILL for our own processes.
PATIENCE = 3.0


#: Seconds between two looks at a child where the kernel cannot tell of its end.
LOOK = 0.1


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
        The file descriptor that is its standard input; -1 for none.
    opened : list of int
        Descriptors that it finds open under these numbers.
    """

    name: str
    lifeline: int
    log: str
    stdin: int = -1
    opened: list[int] = field(default_factory=list)

    def close(self) -> None:
        """Close what is only its own."""
        os.close(self.lifeline)
        if self.stdin >= 0:
            os.close(self.stdin)
        for descriptor in self.opened:
            os.close(descriptor)


Event = tuple[str, "Message | Ended"]


# Nobody else keeps who listens to a peer that was disowned: it and its connection
# would be garbage in the middle of a message.
_pumps: set[asyncio.Task[None]] = set()


class Peer:
    """A process at the other end of a socket: a child of ours, or an agent.

    Parameters
    ----------
    name : str
        "agent", "scheduler" or "client": its name in the events.
    events : asyncio.Queue
        Gets ``(name, message)`` for each message and ``(name, Ended)`` once.
    """

    def __init__(self, name: str, events: asyncio.Queue[Event]) -> None:
        self.name = name
        self._events = events
        self._channel: Channel | None = None
        self._over = asyncio.Event()
        self._work_over = asyncio.Event()
        self._disowned = False
        #: The process id; 0 for one that is not ours, or not there yet.
        self.pid = 0
        #: Why it is about to be killed.
        self.why = ""

    async def attach(self, sock: socket.socket) -> None:
        """Talk to it over a connected socket from now on."""
        self._channel = await open_channel(sock)
        pump = asyncio.create_task(self._listen(), name=f"listen to {self.name}")
        _pumps.add(pump)
        pump.add_done_callback(_pumps.discard)

    async def _listen(self) -> None:
        assert self._channel is not None  # noqa: S101  attached
        try:
            while (message := await self._channel.receive()) is not None:
                if isinstance(message, Bye):
                    self._work_over.set()
                else:
                    await self._events.put((self.name, message))
        except ProtocolError:
            # It wrote garbage into its lifeline: it is of no use.
            self.kill()
        ended = await self._wait()
        self._channel.close()
        self._work_over.set()
        self._over.set()
        if ended is not None and not self._disowned:
            await self._events.put((self.name, ended))

    def disown(self) -> None:
        """Hear no more of it: another takes its place."""
        self._disowned = True

    async def _wait(self) -> Ended | None:
        """Return how it ended; None if it never began."""
        return Ended(0, known=False)

    def kill(self) -> None:
        """Make it useless at once."""
        if self._channel is not None:
            self._channel.close()

    def signal(self, number: int) -> None:
        """Send a signal to it, if it is ours."""

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._channel is not None and not self._over.is_set()

    def send(self, message: Message) -> None:
        """Send it a message."""
        if self._channel is not None:
            self._channel.send(message)

    async def finish(self, patience: float, ask: Message) -> None:
        """Let it end its work, and stay; after *patience* end it by force."""
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
        """End it: ask by a message; after *patience* by force."""
        if not self.running:
            return
        if ask is not None:
            self.send(ask)
        await self.wait(patience)

    async def wait(self, patience: float) -> None:
        """Wait until it has ended; after *patience* end it by force."""
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

    def __init__(self, name: str, events: asyncio.Queue[Event]) -> None:
        super().__init__(name, events)
        self._status: asyncio.Future[int] | None = None

    async def attach(self, sock: socket.socket) -> None:
        """Talk to it from now on, and count who is killed for memory."""
        self._kills = Kills()
        await super().attach(sock)
        if self._status is not None:
            self._status.add_done_callback(self._hear_out)

    def _hear_out(self, _: asyncio.Future[int]) -> None:
        """Wait for no word of its forks: they have its lifeline as well."""
        if self._channel is not None:
            self._channel.hear_out()

    async def start(
        self,
        environ: Mapping[str, str],
        log: str,
        *arguments: str,
        stdin: int | None = subprocess.DEVNULL,
        stderr: int | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        """Start it, logging into the file *log*; what to do is sent to it later."""
        ours, theirs = socket.socketpair()
        with theirs, deaf_at_first():
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                # Not the working directory: a random.py there is the user's.
                "-P",
                "-m",
                f"dask_runner.programs.{self.name}",
                str(theirs.fileno()),
                log,
                *arguments,
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
        """Make the lifeline of one that the agent will fork; return its end."""
        ours, theirs = socket.socketpair()
        await self.attach(ours)
        return theirs

    def born(self, pid: int) -> None:
        """Take note that it was forked, and is our child now."""
        self.pid = pid
        self._status = asyncio.ensure_future(_status_of(pid))
        self._status.add_done_callback(self._hear_out)

    async def _wait(self) -> Ended | None:
        if self._status is None:
            return None
        status = await self._status
        return Ended(status, self.why or self._kills.why(status))

    def kill(self) -> None:
        """End it, and all that it has started, by SIGKILL."""
        self.signal(signal.SIGKILL)
        if self._status is None:
            super().kill()

    def signal(self, number: int) -> None:
        """Send a signal to it and to all that it has started."""
        if self._status is None or self._status.done():
            return
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return

    async def stop(
        self, patience: float = PATIENCE, *, ask: Message | None = None
    ) -> None:
        """End it: ask by a message, or by SIGTERM; after *patience* by SIGKILL."""
        if ask is None:
            self.signal(signal.SIGTERM)
        await super().stop(patience, ask=ask)


#: Signals that a whole job gets, which are the top process's business.
FOR_THE_TOP = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


@contextlib.contextmanager
def deaf_at_first() -> Iterator[None]:
    """Start a process that gets none of these until it has handlers for them."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, FOR_THE_TOP)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


async def _status_of(pid: int) -> int:
    """Wait for a child, without a thread: the system may refuse to give one."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        # The kernel of an old site has none, so it is asked again and again.
        while (status := _reap(pid)) is None:  # noqa: ASYNC110
            await asyncio.sleep(LOOK)
        return status
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    status = _reap(pid)
    assert status is not None  # noqa: S101  it has ended
    return status


def _reap(pid: int) -> int | None:
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None
