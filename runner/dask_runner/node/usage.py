"""What the ranks of a node use: measured in the process that leads it.

That process imports no Dask, outlives its agent, and is the parent of all others. It
looks at them every second, less often where a look takes long, and tells the hub now
and then, so that the hub knows the last figures of a node that is lost. The first look
comes when the workers run, so a start does not wait for it.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_runner.hub import messages as m
from dask_runner.resources.usage import Look, ProcessTree

if TYPE_CHECKING:
    from collections.abc import Callable

    from dask_runner.node import messages as n
    from dask_runner.resources.rank_share import RankShare

#: Seconds between two looks, at least.
LOOK_SECONDS = 1.0
#: The part of one CPU that the looks may cost.
MOST_OF_A_CPU = 1 / 200
#: Seconds after which the hub is told, at first and later.
FIRST_TELL_SECONDS, TELL_SECONDS = 2.0, 10.0
#: How much later each time, until then.
LATER = 2.0


@dataclass(slots=True)
class _Worker:
    pid: int
    nthreads: int
    memory_limit: int
    peak: int = 0


class NodeUsage:
    """What the processes of a node's ranks use.

    Parameters
    ----------
    say : callable
        Sends the hub a message.
    tree : ProcessTree
    """

    def __init__(
        self, say: Callable[[m.Usage], None], tree: ProcessTree | None = None
    ) -> None:
        self._say = say
        self._tree = tree or ProcessTree()
        self._roots: set[int] = set()
        self._shares: dict[int, RankShare] = {}
        self._workers: dict[str, _Worker] = {}
        self._peak = 0
        self._last = Look(0.0, 0, 0)

    # --- who is measured ----------------------------------------------------

    def watch(self, *pids: int) -> None:
        """Measure these processes as well, and what is below them."""
        self._roots.update(pid for pid in pids if pid > 0)

    def has(self, rank: int, share: RankShare) -> None:
        """Note what a rank has of the node."""
        self._shares[rank] = share

    def workers_run(self, message: n.WorkersRun) -> None:
        """Note the processes of workers; the peak of an earlier one stays."""
        for one in message.workers:
            had = self._workers.get(one.name)
            self._workers[one.name] = _Worker(
                one.pid, one.nthreads, one.memory_limit, had.peak if had else 0
            )

    def worker_had(self, message: n.WorkerHad) -> None:
        """Note the memory of a worker that is killed for it."""
        if worker := self._workers.get(message.name):
            worker.peak = max(worker.peak, message.memory)

    # --- measuring ----------------------------------------------------------

    async def keep_looking(self) -> None:
        """Look until it is cancelled, and tell the hub now and then."""
        tell, told = FIRST_TELL_SECONDS, time.monotonic()
        pause = LOOK_SECONDS
        while True:
            await asyncio.sleep(pause)
            if not self._workers:
                continue
            began = time.thread_time()
            self.look()
            pause = max(LOOK_SECONDS, (time.thread_time() - began) / MOST_OF_A_CPU)
            if time.monotonic() - told >= tell:
                told, tell = time.monotonic(), min(tell * LATER, TELL_SECONDS)
                self.tell()

    def look(self) -> None:
        """Look at all processes."""
        self._last = self._tree.look(self._roots)
        self._peak = max(self._peak, self._last.memory)
        for worker in self._workers.values():
            worker.peak = max(worker.peak, self._tree.peak(worker.pid))

    def tell(self) -> None:
        """Tell the hub what is known."""
        shares = self._shares.values()
        self._say(
            m.Usage(
                cpu=self._last.cpu,
                memory=self._last.memory,
                peak=self._peak,
                cpus=sum(one.cpus.value + one.taken_cpus for one in shares),
                given=sum(one.given.value for one in shares),
                taken=sum(one.taken_memory for one in shares),
                workers=[
                    m.WorkerUsage(name, one.nthreads, one.memory_limit, one.peak)
                    for name, one in self._workers.items()
                ],
            )
        )

    def close(self) -> None:
        """Look before the processes end."""
        if self._workers:
            self.look()

    def end(self) -> None:
        """Look for the last time, and tell the hub."""
        if self._shares:
            self.look()
            self.tell()
