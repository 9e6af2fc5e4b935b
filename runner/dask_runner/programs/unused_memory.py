"""Keep memory that a worker has freed for what it makes next, or give it back.

Dask has the C library give it back at once: its nannies set ``MALLOC_TRIM_THRESHOLD_``
to 64 KiB. With that, glibc asks the kernel for each block from 128 KiB on anew, and
every page of it is cleared again: an array of 5 MB takes ten times as long to make
(mallopt(3), "the dynamic adjustment of the mmap threshold"). Left as it is, glibc still
gives back what a graph will need a moment later. So our workers have it keep a share of
their memory limit, and ask it for what is free when memory is short or nothing has run
for a while. That finds free pages between those in use too, which the threshold does
not.
"""

from __future__ import annotations

import ctypes
import time
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from tornado.ioloop import PeriodicCallback

from dask_runner import linux

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

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
#: Bytes: the limit that a worker without one is taken to have.
NO_LIMIT = 2 << 30
#: What a user sets to tell glibc the same (mallopt(3), "Tunables" of its manual).
USERS = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_THRESHOLD_")
TUNABLES = "GLIBC_TUNABLES"
USERS_TUNABLES = (
    "glibc.malloc.trim_threshold",
    "glibc.malloc.top_pad",
    "glibc.malloc.mmap_threshold",
)
#: Parameters of mallopt(3), as <malloc.h> has them.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3


@dataclass(frozen=True, slots=True)
class Kept:
    """What glibc keeps of freed memory, in bytes.

    Attributes
    ----------
    most : int
        At the end of a heap, before it gives back what is beyond ``pad``.
    pad : int
        What it leaves there, and asks for in advance.
    block : int
        The largest block that it takes from a heap. A larger one is the kernel's, and
        goes back at once.
    """

    most: int
    pad: int
    block: int

    @classmethod
    def under(cls, limit: int | None) -> Self:
        """Return what a worker of a memory limit may keep.

        A rechunk of 288 MB by four workers of 2 GiB had 67,000 page faults with what
        glibc does by itself and 17,000 with this, and took a tenth less time. The heap
        of a thread has at most 64 MiB, and a block in a heap half of that (glibc's
        ``HEAP_MAX_SIZE``).
        """
        eighth = min((limit or NO_LIMIT) // 8, 1 << 30)
        return cls(eighth, min(eighth, 64 << 20), min(eighth // 8, 32 << 20))

    def options(self) -> Iterable[tuple[int, int]]:
        """Return them as pairs for mallopt(3)."""
        return (
            (M_TRIM_THRESHOLD, self.most),
            (M_TOP_PAD, self.pad),
            (M_MMAP_THRESHOLD, self.block),
        )


def is_the_users(environ: Mapping[str, str]) -> bool:
    """Return whether a process's first variables tell glibc what to keep."""
    tunables = environ.get(TUNABLES, "")
    return any(name in environ for name in USERS) or any(
        name in tunables for name in USERS_TUNABLES
    )


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


def manage(worker: distributed.Worker) -> None:
    """Have a worker's process keep freed memory, and look for it until its end.

    This does nothing where the C library is not glibc.

    Parameters
    ----------
    worker : Worker
        It is not started yet.
    """
    libc = ctypes.CDLL(None)
    trim = getattr(libc, "malloc_trim", None)
    if trim is None:
        return
    # glibc has read the variables that the process began with; those of today may be
    # Dask's.
    if not is_the_users(linux.first_environ()):
        for option in Kept.under(worker.memory_manager.memory_limit).options():
            libc.mallopt(*option)
    # Dask starts and stops what it finds here.
    worker.periodic_callbacks[NAME] = PeriodicCallback(
        _Look(worker, trim), EVERY * 1000
    )


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
