"""A program of the user's in the foreground, as the process above it sees it.

On a terminal both are one job of the shell, in one process group: Ctrl-C and Ctrl-Z
reach both, and the program alone reads. Without a terminal the program has a group of
its own, so that a signal to the group of this process reaches it once, from here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import termios
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from dask_runner.launch.signals import FOR_A_COMMAND
from dask_runner.linux import adopt_orphans
from dask_runner.node.exits import Ended, Kills
from dask_runner.node.orphans import end_orphans
from dask_runner.wire.channel import Channel, open_channel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dask_runner.wire.message import Message

#: Seconds within which a repeated signal is the same one: Apptainer forwards what its
#: process group has got as well.
SAME_SIGNAL_SECONDS = 0.5

# The kernel itself has sent a signal, such as that of Ctrl-C (sigaction(2), si_code).
_SI_KERNEL = 0x80


class Signals:
    """The signals to this process, one after the other.

    They are blocked in this process, and in what it starts until that unblocks them.
    """

    def __init__(self) -> None:
        self._queue: asyncio.Queue[signal.struct_siginfo] = asyncio.Queue()
        signal.pthread_sigmask(signal.SIG_BLOCK, FOR_A_COMMAND)
        # Only sigwaitinfo(2) tells who has sent a signal, and it waits.
        wait = threading.Thread(
            target=self._wait,
            args=(asyncio.get_running_loop(),),
            name="wait for signals",
            daemon=True,
        )
        wait.start()

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            info = signal.sigwaitinfo(FOR_A_COMMAND)
            try:
                loop.call_soon_threadsafe(self._queue.put_nowait, info)
            except RuntimeError:
                return  # the loop has ended, and this process is about to

    async def next(self) -> signal.struct_siginfo:
        """Wait for the next one."""
        return await self._queue.get()


class Foreground:
    """A program in the foreground.

    Parameters
    ----------
    module : str
        The module that it begins as.
    """

    def __init__(self, module: str) -> None:
        self._module = module
        self._terminal = _Terminal.find()
        self._kills = Kills()
        self._heard: dict[int, float] = {}
        self.pid = 0
        #: Whether it has got a signal from this process.
        self.signalled = False

    async def start(
        self,
        environ: Mapping[str, str],
        messages: Sequence[Message],
        opened: Sequence[int],
    ) -> None:
        """Start it.

        Parameters
        ----------
        environ : mapping
        messages : sequence of Message
            What it is told.
        opened : sequence of int
            Descriptors that it has open with these numbers.

        Raises
        ------
        OSError
            If the system refuses.
        """
        adopt_orphans()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                # Without the working directory: a random.py there is the user's.
                "-P",
                "-m",
                self._module,
                str(theirs.fileno()),
                env=dict(environ),
                pass_fds=(theirs.fileno(), *opened),
                process_group=None if self._terminal else 0,
            )
        self.pid = self._process.pid
        self._lifeline: Channel = await open_channel(ours)
        self._lifeline.send(*messages)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._reap)

    def _reap(self) -> None:
        """Forget the ends of processes that the program has left to this one."""
        look = os.WEXITED | os.WNOHANG | os.WNOWAIT
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitid(os.P_ALL, 0, look)) and found.si_pid != self.pid:
                os.waitpid(found.si_pid, os.WNOHANG)

    async def ended(self) -> Ended:
        """Wait for its end."""
        status = await self._process.wait()
        return Ended(status, self._kills.why(status))

    async def forward(self, signals: Signals) -> None:
        """Forward signals to it, until this is cancelled."""
        while True:
            self._hear(await signals.next())

    def _hear(self, info: signal.struct_siginfo) -> None:
        if self._terminal and info.si_code == _SI_KERNEL:
            return  # it is in the same process group, and has got it
        number, now = info.si_signo, time.monotonic()
        last = self._heard.get(number, now - SAME_SIGNAL_SECONDS)
        self._heard[number] = now
        if now - last >= SAME_SIGNAL_SECONDS:
            self.signal(number)

    def signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        self.signalled = True
        if self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            if self._terminal:
                os.kill(self.pid, number)
            else:
                os.killpg(self.pid, number)

    async def end(self, patience: float) -> None:
        """End it: ask, and kill it after *patience* seconds."""
        ending = asyncio.ensure_future(self.ended())
        for number in (signal.SIGTERM, signal.SIGKILL):
            self.signal(number)
            # One that is stopped (Ctrl-Z) ends by SIGTERM when it goes on.
            self.signal(signal.SIGCONT)
            await asyncio.wait({ending}, timeout=patience)
            if ending.done():
                return
        await ending

    def tidy(self) -> None:
        """End what it has left, and give the terminal back."""
        end_orphans()
        self._lifeline.close()
        if self._terminal:
            self._terminal.restore()


@dataclass(frozen=True, slots=True)
class _Terminal:
    """The terminal that controls this process, as it was at first.

    Attributes
    ----------
    descriptor : int
    group : int
        The process group in its foreground.
    settings : list
        Those of tcgetattr(3).
    """

    descriptor: int
    group: int
    settings: list[Any]

    @classmethod
    def find(cls) -> Self | None:
        """Return it; None if there is none."""
        try:
            descriptor = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
        except OSError:
            return None
        try:
            group = os.tcgetpgrp(descriptor)
            return cls(descriptor, group, termios.tcgetattr(descriptor))
        except (OSError, termios.error):  # it is gone again
            os.close(descriptor)
            return None

    def restore(self) -> None:
        """Undo what a program that was killed has left: raw input, its own group."""
        own = os.getpgrp()
        # From the background, to change anything stops a process that may be stopped.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        try:
            now = os.tcgetpgrp(self.descriptor)
            if self.group == own and (now == own or not _exists(now)):
                os.tcsetpgrp(self.descriptor, own)
                termios.tcsetattr(self.descriptor, termios.TCSADRAIN, self.settings)
        except (OSError, termios.error):
            return  # it is gone, and with it what was to be restored
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(self.descriptor)


def _exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
