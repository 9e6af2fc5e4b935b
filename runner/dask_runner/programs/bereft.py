"""An agent that loses its top process before it has an ear for that.

It imports for a second, and the end of its lifeline waits. Where the top process was
its container's first, the image goes in that second, and with it what the agent has
yet to import. So the kernel tells it (prctl(2), PR_SET_PDEATHSIG), and it removes the
rank's directory with what it has.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from typing import TYPE_CHECKING

from dask_runner.resources.custody import Held

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_PR_SET_PDEATHSIG = 1

#: One that is the top process's business otherwise (``lifeline``): forks inherit a
#: handler that does nothing in them.
SIGNAL = signal.SIGUSR2


@contextlib.contextmanager
def ends_with(top: int, private: Path, forked: Mapping[int, str]) -> Iterator[None]:
    """End this process with its parent, at once and with all that is to be removed.

    Parameters
    ----------
    top : int
        The parent.
    private : path
        The rank's directory.
    forked : mapping of int to str
        The processes that it has forked by now, which are killed: they would write
        into the directory.
    """
    ours, held = os.getpid(), Held.at(private)

    def end(number: int, frame: object) -> None:
        del number, frame
        if os.getpid() == ours and os.getppid() != top:
            for pid in forked:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            held.remove()
            os._exit(0)

    prctl = ctypes.CDLL(None).prctl
    before = signal.signal(SIGNAL, end)
    prctl(_PR_SET_PDEATHSIG, int(SIGNAL), 0, 0, 0)
    end(SIGNAL, None)  # it may have gone before
    yield
    if os.getpid() == ours:
        prctl(_PR_SET_PDEATHSIG, 0, 0, 0, 0)
    signal.signal(SIGNAL, before)
    held.close()
