"""Give memory that a worker has freed back to the system.

Dask lets the C library do it: its nannies set ``MALLOC_TRIM_THRESHOLD_`` to 64 KiB.
With that, glibc asks the kernel for each block from 128 KiB on anew, and every page of
it is cleared again: an array of 5 MB takes ten times as long to make (mallopt(3), "the
dynamic adjustment of the mmap threshold"). So our workers leave glibc as it is, and ask
it for what is free when memory is short or nothing has run for a while. That finds free
pages between those in use too, which the threshold does not.
"""

from __future__ import annotations

import ctypes
import time
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tornado.ioloop import PeriodicCallback

if TYPE_CHECKING:
    from collections.abc import Callable

    import distributed

#: The name of our clock in a worker.
NAME = "dask-runner-unused-memory"
#: Seconds between two looks.
EVERY = 0.5
#: The share of the memory limit from which memory is short: before Dask keeps results
#: on disk (0.6 of the limit) because of memory that is not in use.
SHORT = 0.5
#: Seconds for which nothing has run when a worker is idle. A graph has gaps.
IDLE = 2.0
#: Bytes by which memory has to change before an idle worker looks for more.
CHANGE = 16 << 20
#: The most that looking may take, as a share of the time.
SHARE = 0.02


@dataclass(frozen=True, slots=True)
class Looked:
    """The last time that free memory was looked for.

    Attributes
    ----------
    memory : int
        Bytes that the process had afterwards.
    after : float
        The time before which it is not done again, in seconds of the monotonic clock.
    """

    memory: int = 0
    after: float = 0


def is_due(memory: int, limit: int | None, *, idle: float, last: Looked) -> bool:
    """Return whether it is time to look for free memory.

    Parameters
    ----------
    memory : int
        Bytes that the process has.
    limit : int or None
        The worker's memory limit in bytes; None for none.
    idle : float
        Seconds for which no task has run and no data has come.
    last : Looked
    """
    if idle >= IDLE:
        return abs(memory - last.memory) > CHANGE
    return limit is not None and memory > SHORT * limit


def give_back(worker: distributed.Worker) -> None:
    """Have a worker look for free memory, from its start to its end.

    This does nothing where the C library is not glibc.

    Parameters
    ----------
    worker : Worker
        It is not started yet.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        look = _Look(worker, trim)
        # Dask starts and stops what it finds here.
        worker.periodic_callbacks[NAME] = PeriodicCallback(look, EVERY * 1000)


class _Look:
    """Looks for free memory if that is due."""

    def __init__(self, worker: distributed.Worker, trim: Callable[[int], int]) -> None:
        self._worker = weakref.ref(worker)
        self._trim = trim
        self._last = Looked()
        self._busy = time.monotonic()

    def __call__(self) -> None:
        worker, began = self._worker(), time.monotonic()
        if worker is None:
            return
        state, memory = worker.state, worker.monitor.get_process_memory
        if state.executing_count or state.transfer_incoming_count:
            self._busy = began
        if began < self._last.after:
            return
        limit = worker.memory_manager.memory_limit
        if is_due(memory(), limit, idle=began - self._busy, last=self._last):
            self._trim(0)
            ended = time.monotonic()
            self._last = Looked(memory(), ended + (ended - began) / SHARE)
