"""How the scheduler retires workers when the cluster gets smaller."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from distributed import Status

if TYPE_CHECKING:
    from collections.abc import Collection

    import distributed
    from distributed.scheduler import WorkerState

_LEAVING = (
    Status.closing_gracefully,
    Status.closing,
    Status.closed,
    Status.failed,
)


async def retire(
    scheduler: distributed.Scheduler, left: int, names: Collection[str]
) -> list[str]:
    """Retire workers: others get their data, and the tasks that they have not done.

    Parameters
    ----------
    scheduler : Scheduler
    left : int
        How many of the workers are to stay.
    names : collection of str
        The workers among which to choose.

    Returns
    -------
    list of str
        The names of those that stay. They may be more: a worker stays if it runs a task
        that waits for other tasks, or if nobody can take its data.
    """
    there = [
        worker
        for worker in scheduler.workers.values()
        if str(worker.name) in names and worker.status not in _LEAVING
    ]
    # With this number Dask names all that it would close.
    may_go = set(scheduler.workers_to_close(n=len(scheduler.workers)))
    hosts = Counter(worker.host for worker in there)
    candidates = [worker for worker in there if worker.address in may_go]
    chosen: list[str] = []
    while candidates and len(there) - len(chosen) > left:
        worker = min(candidates, key=lambda one: _cost(one, hosts))
        candidates.remove(worker)
        hosts[worker.host] -= 1
        chosen.append(worker.address)
    gone = {}
    if chosen:
        gone = await scheduler.retire_workers(
            workers=chosen, close_workers=True, remove=True
        )
    return [str(worker.name) for worker in there if worker.address not in gone]


def _cost(worker: WorkerState, hosts: Counter[str]) -> tuple[bool, int, int]:
    """Return what to compare: idle, from the host with most workers, with few data."""
    return bool(worker.processing), -hosts[worker.host], worker.nbytes
