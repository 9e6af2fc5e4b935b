"""Interrupt the body of a ``with`` when its cluster is lost.

The body, or the program after ``initialize()``, may sleep, read or compute when the
cluster is lost. It ends as by :func:`sys.exit`, with the cluster's status: ``finally``
and ``atexit`` run, and nothing is printed but rank 0's line.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

from dask_runner.node.exits import StoppedProcesses

if TYPE_CHECKING:
    from subprocess import Popen

#: The signal that interrupts the body: it also ends a sleep or a read. Nothing else
#: sends SIGURG, and by default it does nothing. SIGINT is the program's or asyncio's.
INTERRUPT_SIGNAL = signal.SIGURG

#: Seconds between checks of whether the top process is stopped.
CHECK_SECONDS = 1.0

#: Loggers that would report every connection to a cluster that has ended.
NOISY_LOGGERS = ("distributed", "distributed.client", "tornado", "asyncio")


class Body:
    """The body of the ``with``, while the cluster runs.

    Attributes
    ----------
    status : int or None
        The cluster's status, if the cluster has ended before the body.
    """

    def __init__(self) -> None:
        self.status: int | None = None
        self._in_main = False
        self._before: object = None

    def begin(self) -> None:
        """Prepare to interrupt the body, which begins in this thread."""
        # Only the main thread can set handlers. `async with` calls this in another
        # thread; there SIGINT makes asyncio cancel the body.
        self._in_main = threading.current_thread() is threading.main_thread()
        if self._in_main:
            self._before = signal.signal(INTERRUPT_SIGNAL, self._leave)

    def interrupt(self, status: int) -> None:
        """End the body with this status; called in another thread."""
        self.status = status
        for name in NOISY_LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        os.kill(os.getpid(), INTERRUPT_SIGNAL if self._in_main else signal.SIGINT)

    def over(self) -> None:
        """Stop expecting an interruption: the body has ended, in any thread."""
        if self._in_main and threading.current_thread() is threading.main_thread():
            before = self._before or signal.SIG_DFL
            signal.signal(INTERRUPT_SIGNAL, before)  # type: ignore[arg-type]

    def _leave(self, number: int, frame: object) -> None:
        del number, frame
        if self.status is not None:
            raise SystemExit(self.status)


def end_with(top: Popen[bytes], silence: float, *, launched: bool) -> None:
    """Kill *top* if it is stopped and not continued; runs in a thread of its own.

    In a rank without an agent no other process would notice.

    Parameters
    ----------
    top : Popen
        The rank's top process, our child.
    silence : float
        Seconds that it may be stopped.
    launched : bool
        Whether this process ends when its parent does: the ranks of an mpiexec that
        was killed would go on.
    """
    stopped, launcher = StoppedProcesses(silence), os.getppid()
    every = min(CHECK_SECONDS, silence / 3)
    while top.poll() is None:
        # Nobody is told that a process is stopped, or that a parent has ended.
        time.sleep(every)
        if stopped.too_long({top.pid}, every):
            top.kill()
        if launched and os.getppid() != launcher:
            os.kill(os.getpid(), signal.SIGTERM)
            return


def status_of(error: BaseException | None) -> int:
    """Return the exit status that Python gives a program which *error* ends."""
    match error:
        case None:
            return 0
        case SystemExit(code=None):
            return 0
        case SystemExit(code=int(code)):
            return code
        case KeyboardInterrupt():
            return 130
    return 1
