"""The processes of a rank, seen from its top process.

Each process is a child of the top process, in a process group of its own. A socket pair
connects them: it carries messages, and its end of file shows either side at once that
the other has ended. The agent is a fork of the leader
(:mod:`dask_runner.node.early_agent`) or a fresh Python; it imports Dask and forks the
other processes (:mod:`dask_runner.programs.fork`). None is the launcher's child, so the
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
from typing import TYPE_CHECKING, Any

from dask_runner.launch.signals import FOR_THE_TOP
from dask_runner.node.exits import Ended, Kills
from dask_runner.node.peer import SocketPeer

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Mapping, Sequence

    from dask_runner.node.events import Event, Source
    from dask_runner.wire.channel import Channel
    from dask_runner.wire.message import Message

#: Seconds between SIGTERM and SIGKILL for a rank's processes.
PATIENCE_SECONDS = 3.0


#: Seconds between checks of a child, where the kernel cannot report its end.
CHECK_SECONDS = 0.1

#: The children of this process for whose end a rank waits, and not all of them are of
#: the same rank: a leader plays for others.
_AWAITED: set[int] = set()


def awaited() -> frozenset[int]:
    """Return the IDs of the children for whose end a rank of this process waits."""
    return frozenset(_AWAITED)


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


class Process(SocketPeer):
    """One process of a rank: started by :meth:`start`, or forked by the agent.

    Its module is *name* in :mod:`dask_runner.programs`.
    """

    def __init__(self, name: Source, events: asyncio.Queue[Event]) -> None:
        super().__init__(name, events)
        self._status: asyncio.Future[int] | None = None
        # Set when it is known which process it is, or that there will be none.
        self._known = asyncio.Event()

    def use(self, channel: Channel) -> None:
        """Use a channel for messages; count kills for memory from now on."""
        self._kills = Kills()
        super().use(channel)
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
                *command_of(f"programs.{self.name}", theirs, log),
                env=dict(environ),
                stdin=stdin,
                stderr=stderr,
                pass_fds=(theirs.fileno(), *pass_fds),
                process_group=0,
            )
        self._await(process.pid, process.wait())
        await self.attach(ours)

    async def take(self, pid: int, lifeline: socket.socket) -> None:
        """Use a child that this process has forked, and its lifeline."""
        self._await(pid, _status_of(pid))
        await self.attach(lifeline)

    async def expect(self) -> socket.socket:
        """Return the other end of the lifeline, for a process that the agent forks."""
        ours, theirs = socket.socketpair()
        await self.attach(ours)
        return theirs

    def note_forked(self, pid: int) -> None:
        """Note the ID of a process that was forked and is a child of this one."""
        self._await(pid, _status_of(pid)).add_done_callback(self._hear_out)

    def _await(self, pid: int, end: Coroutine[Any, Any, int]) -> asyncio.Future[int]:
        self.pid = pid
        self._status = status = asyncio.ensure_future(end)
        self._known.set()
        _AWAITED.add(pid)
        status.add_done_callback(lambda _: _AWAITED.discard(pid))
        return status

    async def _wait(self) -> Ended | None:
        # One that becomes a command closes its lifeline, perhaps before the agent has
        # told of the fork.
        await self._known.wait()
        if self._status is None:
            return None
        status = await self._status
        return Ended(status, self.why or self._kills.why(status))

    def kill(self) -> None:
        """Kill the process and all that it has started."""
        self.signal(signal.SIGKILL)
        if self._status is None:
            super().kill()
            self._known.set()

    def signal(self, number: int) -> None:
        """Send a signal to the process and to all that it has started."""
        if self._status is None or self._status.done():
            return
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return

    async def stop(
        self, patience: float = PATIENCE_SECONDS, *, ask: Message | None = None
    ) -> None:
        """Ask the process to end, by a message or SIGTERM; kill it after *patience*."""
        if ask is None:
            self.signal(signal.SIGTERM)
        await super().stop(patience, ask=ask)


def command_of(module: str, lifeline: socket.socket, log: str) -> list[str]:
    """Return the command that runs a module of ours as a process.

    Parameters
    ----------
    module : str
        Its name in the package.
    lifeline : socket
        The process's end of its lifeline, which it has to inherit.
    log : str
        The path of its log.
    """
    # -P: without the working directory, as a random.py there is the user's.
    start = [sys.executable, "-P", "-m", "dask_runner.programs.start"]
    return [*start, module, str(lifeline.fileno()), log]


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
