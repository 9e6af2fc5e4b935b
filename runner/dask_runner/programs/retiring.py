"""How the scheduler retires workers, when the cluster gets smaller or a join leaves."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import TYPE_CHECKING

from distributed import Status

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import distributed
    from distributed.scheduler import WorkerState

logger = logging.getLogger(__name__)

#: Seconds between looks at what the workers that have to go still run.
LOOK_SECONDS = 0.1

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


async def retire_all(
    scheduler: distributed.Scheduler, names: Collection[str], seconds: float
) -> None:
    """Retire workers that have to go, as far as that can be done in so many seconds.

    No new tasks come to them. What they run is finished there; what waits there for its
    turn is given to others, as work stealing does it; and their data is moved.

    Parameters
    ----------
    scheduler : Scheduler
    names : collection of str
        Those of the workers.
    seconds : float
    """
    try:
        async with asyncio.timeout(seconds):
            while going := _there(scheduler, names):
                await _retire_once(scheduler, going)
                # A worker that is to take their data may be starting.
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        # Dask gives their tasks to others when they end.
        logger.info("Not retired within %s s: %s", seconds, sorted(names))


def _there(
    scheduler: distributed.Scheduler, names: Collection[str]
) -> list[WorkerState]:
    return [one for one in scheduler.workers.values() if str(one.name) in names]


async def _retire_once(
    scheduler: distributed.Scheduler, going: Sequence[WorkerState]
) -> None:
    """Retire those of the workers whose data others can take."""
    async with asyncio.TaskGroup() as tasks:
        # It closes nobody yet, but from here on they get no new tasks.
        tasks.create_task(
            scheduler.retire_workers(
                workers=[one.address for one in going],
                close_workers=False,
                remove=False,
            )
        )
        tasks.create_task(_give_back(scheduler, going))
    done = [one.address for one in going if one.status in _LEAVING]
    if done:
        # What they have computed meanwhile is moved as well.
        await scheduler.retire_workers(workers=done, close_workers=True, remove=True)


async def _give_back(
    scheduler: distributed.Scheduler, going: Sequence[WorkerState]
) -> None:
    """Hand tasks that have not started to other workers, until these run none."""
    stealing = scheduler.extensions.get("stealing")
    await asyncio.sleep(0)  # until Dask has told them that they go
    while there := [one for one in going if one.processing and one.status in _LEAVING]:
        for worker in there if stealing is not None else ():
            for task in list(worker.processing):
                if task in stealing.in_flight:
                    continue
                thief = scheduler.decide_worker_non_rootish(task)
                # The worker keeps a task that it runs already.
                if thief is not None and thief not in going:
                    stealing.move_task_request(task, worker, thief)
        await asyncio.sleep(LOOK_SECONDS)


def _cost(worker: WorkerState, hosts: Counter[str]) -> tuple[bool, int, int]:
    """Return what to compare: idle, from the host with most workers, with few data."""
    return bool(worker.processing), -hosts[worker.host], worker.nbytes
