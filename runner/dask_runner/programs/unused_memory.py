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

import asyncio
import ctypes
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from distributed.threadpoolexecutor import ThreadPoolExecutor as DaskThreadPoolExecutor
from tornado.ioloop import PeriodicCallback

from dask_runner import linux

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from concurrent.futures import Executor

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
#: Threads of a worker that make arrays beside those of its tasks: the event loop's,
#: Dask's for deserializing (``offload``), and that of a shuffle.
OTHER_THREADS = 3
#: Bytes: the most that is kept at the end of a heap, which mallopt(3) takes as an int.
MOST = 1 << 30
#: Bytes: the largest block that glibc takes from a heap (its
#: ``DEFAULT_MMAP_THRESHOLD_MAX``).
MOST_BLOCK = 32 << 20
#: Bytes from which glibc by itself takes a block from the kernel, and gives back the
#: end of the main heap (mallopt(3)).
LARGE = 128 << 10
#: Bytes of a block whose end has glibc give back what is free at the end of a thread's
#: heap: more than ``FASTBIN_CONSOLIDATION_THRESHOLD`` (64 KiB) of its malloc.c, and
#: less than what is the kernel's.
BLOCK = 100_000
#: Dask's own is no subclass of Python's. Users may have others, of processes.
THREAD_POOLS = (ThreadPoolExecutor, DaskThreadPoolExecutor)
#: Seconds for which the threads of a pool are waited for.
AT_ONCE = 0.5
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
        At the end of a heap, before it gives back what is beyond ``pad``. Threads have
        heaps of their own, of at most 64 MiB each (glibc's ``HEAP_MAX_SIZE``).
    pad : int
        What it leaves there, and asks for in advance. It gives an empty heap of a
        thread back if the one before has that much at its end.
    block : int
        The largest block that it takes from a heap. A larger one is the kernel's, and
        goes back at once.
    """

    most: int
    pad: int
    block: int

    @classmethod
    def under(cls, limit: int | None, threads: int) -> Self:
        """Return what a worker of a memory limit may keep: about an eighth of that.

        A rechunk of 288 MB by four workers of 2 GiB had 44,000 page faults with what
        glibc does by itself and 15,000 with this, and took 0.06 of its time less.

        Parameters
        ----------
        limit : int or None
            Bytes; None for none.
        threads : int
            How many run its tasks.
        """
        eighth = (limit or NO_LIMIT) // 8
        most = min(eighth // (threads + OTHER_THREADS), MOST)
        block = max(min(eighth // 8, MOST_BLOCK), LARGE)
        return cls(most=most, pad=min(most // 2, MOST_BLOCK), block=block)

    @property
    def nothing(self) -> Self:
        """The same with all free ends of heaps given back."""
        return replace(self, most=LARGE, pad=0)


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
    return is_short(memory, limit)


def is_short(memory: int, limit: int | None) -> bool:
    """Return whether a process with that much memory should keep none that is free."""
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
    if not hasattr(libc, "malloc_trim"):
        return
    # glibc has read the variables that the process began with; those of today may be
    # Dask's.
    kept = None
    if not is_the_users(linux.first_environ()):
        limit = worker.memory_manager.memory_limit
        kept = Kept.under(limit, worker.state.nthreads)
    # Dask starts and stops what it finds here.
    worker.periodic_callbacks[NAME] = PeriodicCallback(
        _Look(worker, _Heaps(libc, kept)), EVERY * 1000
    )


class _Heaps:
    """glibc's heaps in this process."""

    def __init__(self, libc: ctypes.CDLL, kept: Kept | None) -> None:
        self._libc = libc
        self._kept = kept
        self._now: Kept | None = None
        self.keep(True)

    def keep(self, wanted: bool) -> None:
        """Keep what is freed from now on, or not: each thread, when it frees much."""
        kept = self._kept if wanted or self._kept is None else self._kept.nothing
        if kept is None or kept == self._now:
            return
        self._libc.mallopt(M_TRIM_THRESHOLD, kept.most)
        self._libc.mallopt(M_TOP_PAD, kept.pad)
        self._libc.mallopt(M_MMAP_THRESHOLD, kept.block)
        self._now = kept

    def trim(self) -> float:
        """Give free memory back, except at the ends of other threads' heaps.

        Nothing else runs meanwhile: return for how many seconds.
        """
        began = time.monotonic()
        self._libc.malloc_trim(0)
        return time.monotonic() - began

    async def trim_all(self, threads: Iterable[tuple[Executor, int]]) -> float:
        """Give free memory back, also at the ends of these idle threads' heaps.

        malloc_trim(3) leaves those alone; glibc gives an end back when the thread
        itself frees a block beside it. Afterwards nothing is kept, until `keep`.
        Return what `trim` does.
        """
        self.keep(False)
        freed = [
            asyncio.wrap_future(pool.submit(_free_a_block, barrier))
            for pool, number in threads
            for barrier in [threading.Barrier(number, timeout=AT_ONCE)]
            for _ in range(number)
        ]
        if freed:
            _, late = await asyncio.wait(freed, timeout=AT_ONCE)
            for each in late:
                each.cancel()
        return self.trim()


def _free_a_block(barrier: threading.Barrier) -> None:
    """Free a block when each thread of the pool is about to."""
    # A thread that is busy breaks it. Then it will free something itself.
    with suppress(threading.BrokenBarrierError):
        barrier.wait()
    bytearray(BLOCK)


class _Look:
    """Looks for free memory if that is due."""

    def __init__(self, worker: distributed.Worker, heaps: _Heaps) -> None:
        self._worker = weakref.ref(worker)
        self._heaps = heaps
        self._last = Looked()
        self._busy = time.monotonic()

    async def __call__(self) -> None:
        worker, began = self._worker(), time.monotonic()
        if worker is None:
            return
        state, memory = worker.state, worker.monitor.get_process_memory
        if state.executing_count or state.transfer_incoming_count:
            self._busy = began
        limit, idle = worker.memory_manager.memory_limit, began - self._busy
        now = memory()
        if began >= self._last.after and is_due(now, limit, idle=idle, last=self._last):
            if idle >= IDLE:
                took = await self._heaps.trim_all(_threads(worker))
            else:
                took = self._heaps.trim()
            now = memory()
            self._last = Looked(now, time.monotonic() + took / SHARE)
        self._heaps.keep(not is_short(now, limit))


def _threads(worker: distributed.Worker) -> list[tuple[Executor, int]]:
    """Return the pools whose threads make results, with how many each may have."""
    numbers = {"default": worker.state.nthreads, "offload": 1, "actor": 1}
    pools = ((worker.executors[name], number) for name, number in numbers.items())
    return [
        (pool, number)
        for pool, number in pools
        if isinstance(pool, THREAD_POOLS) and pool._threads  # noqa: SLF001  a pool that has none yet has no heaps
    ]
