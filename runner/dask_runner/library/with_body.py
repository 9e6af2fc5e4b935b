"""The user's process in the library's way in: ended when its cluster is.

The body of the ``with``, or what follows ``initialize()``, may sleep, read or
compute when the cluster is lost. It is left as by :func:`sys.exit`, with the status
of the cluster: ``finally`` and ``atexit`` run, and nothing is printed but the line
that rank 0 has said.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

from dask_runner.node.exits import Standing

if TYPE_CHECKING:
    from subprocess import Popen

#: What nobody else sends and nothing happens by: Ctrl-C stays what the program, or
#: asyncio, makes of it. A real signal ends a sleep and a read as well.
LEAVE = signal.SIGURG

#: Seconds between looks at what may stand still.
LOOK = 1.0

#: They would tell at length of connections to a cluster whose end has been said.
HUSHED = ("distributed", "distributed.client", "tornado", "asyncio")


class Body:
    """What runs in this process while the cluster does.

    Attributes
    ----------
    status : int or None
        The cluster's, if it has ended first.
    """

    def __init__(self) -> None:
        self.status: int | None = None
        self._in_main = False
        self._before: object = None

    def begin(self) -> None:
        """Take note that it begins, in this thread."""
        # Only the main thread can have handlers. With an event loop it is not here,
        # and there Ctrl-C is what cancels in order.
        self._in_main = threading.current_thread() is threading.main_thread()
        if self._in_main:
            self._before = signal.signal(LEAVE, self._leave)

    def interrupt(self, status: int) -> None:
        """Leave it, from another thread, with this status."""
        self.status = status
        for name in HUSHED:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        os.kill(os.getpid(), LEAVE if self._in_main else signal.SIGINT)

    def over(self) -> None:
        """Take note that it has ended, in whatever thread."""
        if self._in_main and threading.current_thread() is threading.main_thread():
            signal.signal(LEAVE, self._before or signal.SIG_DFL)  # type: ignore[arg-type]

    def _leave(self, number: int, frame: object) -> None:
        del number, frame
        if self.status is not None:
            raise SystemExit(self.status)


def end_with(top: Popen[bytes], silence: float, *, launched: bool) -> None:
    """Kill *top* if it is stopped and not continued; for a thread of its own.

    A rank that has no agent has nobody else to see it.

    Parameters
    ----------
    top : Popen
        The rank's top process, our child.
    silence : float
        Seconds that it may stand still.
    launched : bool
        Whether this process is to end with the one that has started it: mpiexec's
        children outlive it otherwise.
    """
    standing, launcher = Standing(silence), os.getppid()
    every = min(LOOK, silence / 3)
    while top.poll() is None:
        time.sleep(every)
        if standing.too_long({top.pid}, every):
            top.kill()
        if launched and os.getppid() != launcher:
            os.kill(os.getpid(), signal.SIGTERM)
            return


def status_of(error: BaseException | None) -> int:
    """Return the status of a body that was left so, as the interpreter gives it."""
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
