"""What a cluster computes, as its scheduler and its workers know it.

Nothing is counted twice: seconds, spilled bytes and the numbers of workers are Dask's
own. A plugin of the scheduler counts tasks, which Dask forgets, and one of the workers
tells at their end what they have not told with a heartbeat.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distributed.diagnostics.plugin import SchedulerPlugin, WorkerPlugin

from dask_runner.hub import messages as m

if TYPE_CHECKING:
    from collections.abc import Mapping

    import distributed
    from distributed.scheduler import WorkerState

#: The name of our plugins, of a worker's metric and of an event's topic.
NAME = "dask-runner-work"
#: States of tasks that are to be computed.
OPEN = ("waiting", "no-worker", "queued", "processing")
#: The metric of a worker that has what it has written to disk.
WRITTEN = ("disk-write", "bytes")


class WorkDone(SchedulerPlugin):  # type: ignore[misc]  # Dask has no types
    """Counts what the scheduler's tasks come to.

    Parameters
    ----------
    scheduler : Scheduler
    """

    name = NAME

    def __init__(self, scheduler: distributed.Scheduler) -> None:
        self._scheduler = scheduler
        self._done = self._erred = self._again = self._broken_off = 0
        self._lost: set[Any] = set()
        self._moved: dict[str, int] = {}
        self._spilled = 0

    def transition(
        self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any
    ) -> None:
        """Count a task that has been computed, or has failed; Dask calls this."""
        del args, kwargs
        if start != "processing":
            return
        if finish == "memory":
            self._done += 1
            if self._lost and key in self._lost:
                self._lost.discard(key)
                self._again += 1
        elif finish == "erred":
            self._erred += 1

    def loses(self, worker: WorkerState, *, at_work: bool) -> None:
        """Note what a worker takes with it that is lost.

        At the end of the cluster, too: then nothing is computed again.
        """
        if at_work:
            self._broken_off += min(len(worker.processing), worker.nthreads)
        self._lost.update(
            task.key
            for task in worker.has_what
            if len(task.who_has) == 1 and task.run_spec is not None
        )

    def log_event(self, topic: str, msg: Any) -> None:
        """Take what a worker tells at its end; Dask calls this."""
        if topic == NAME:
            self._moved[msg["worker"]] = msg["moved"]
            self._spilled += msg["spilled"]

    def now(self) -> m.Work:
        """Return what there is to tell."""
        scheduler = self._scheduler
        workers = scheduler.workers.values()
        for worker in workers:
            if NAME in worker.metrics:
                self._moved[worker.address] = worker.metrics[NAME]
        known = self._done + self._erred
        known += sum(
            group.states[state]
            for group in scheduler.task_groups.values()
            for state in OPEN
        )
        return m.Work(
            done=self._done,
            erred=self._erred,
            known=known,
            again=self._again,
            broken_off=self._broken_off,
            computed=sum(
                prefix.all_durations["compute"]
                for prefix in scheduler.task_prefixes.values()
            ),
            running=sum(
                min(len(worker.processing), worker.nthreads) for worker in workers
            ),
            workers=len(workers),
            nthreads=scheduler.total_nthreads,
            memory=sum(worker.metrics.get("memory", 0) for worker in workers),
            moved=sum(self._moved.values()),
            spilled=self._spilled + written(scheduler.cumulative_worker_metrics),
        )


def written(metrics: Mapping[Any, float]) -> int:
    """Return the bytes that workers have written to disk, of Dask's fine metrics."""
    return int(
        sum(
            value
            for name, value in metrics.items()
            if isinstance(name, tuple) and name[-2:] == WRITTEN
        )
    )


class LastWords(WorkerPlugin):  # type: ignore[misc]  # Dask has no types
    """Tells the scheduler what a worker has got from others, to its very end."""

    name = NAME

    def __init__(self) -> None:
        self._moved = 0
        self._last: Any = None

    def setup(self, worker: distributed.Worker) -> None:
        """Add the worker's metric; Dask calls this."""
        worker.metrics[NAME] = self.moved

    def moved(self, worker: distributed.Worker) -> int:
        """Return the bytes that the worker has got from others."""
        last = self._last
        for one in reversed(worker.transfer_incoming_log):
            if one is last:
                break
            self._moved += one["total"]
        if worker.transfer_incoming_log:
            self._last = worker.transfer_incoming_log[-1]
        return self._moved

    def teardown(self, worker: distributed.Worker) -> None:
        """Tell what no heartbeat has told; Dask calls this when the worker closes."""
        worker.log_event(
            NAME,
            {
                "worker": worker.address,
                "moved": self.moved(worker),
                "spilled": written(worker.digests_total_since_heartbeat),
            },
        )
