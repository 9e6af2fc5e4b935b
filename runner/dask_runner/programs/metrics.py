"""``/metrics`` of the scheduler: one page of Prometheus for the whole cluster.

Dask's scheduler and each of its workers have such a page. Ours is in place of the
scheduler's, and has what the workers tell as well, so that a cluster is one target.
Workers need no HTTP server for it: the scheduler asks them over Dask's connections,
when somebody reads the page. prometheus-client is imported then.

distributed 2025.1, 2025.11 and 2026.8 name their collectors alike.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
from typing import TYPE_CHECKING, Any

from distributed.http.utils import RequestHandler

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import distributed
    from distributed.scheduler import WorkerState
    from prometheus_client.core import Metric

logger = logging.getLogger("distributed.scheduler")

#: The modules of Dask's routes with a page of metrics.
OF_SCHEDULER = "distributed.http.scheduler.prometheus"
OF_WORKER = "distributed.http.worker.prometheus"

#: What a worker of ours answers.
OPERATION = "dask_runner_metrics"
#: Seconds for the workers' answers. Prometheus says how long it waits itself, by
#: default 10 seconds, and gets what there is after so much of that.
WORKERS_SECONDS = 5.0
PART = 0.7
_WAITS = "X-Prometheus-Scrape-Timeout-Seconds"

#: The labels of a sample: which worker it is from, none for the scheduler, and where.
WORKER, NODE = "worker", "node"
#: What becomes of such a label that a program of the user's has used: what Prometheus
#: makes of a target's label.
_EXPORTED = "exported_"

_UP = "dask_runner_worker_up"
_UP_MEANS = "Whether the worker has told its metrics, in time."

_TEXT = "text/plain; version=0.0.4; charset=utf-8"

#: A family of samples as a worker tells it: name, help, type, and of each sample name,
#: labels and value.
Family = tuple[str, str, str, list[tuple[str, dict[str, str], float]]]


class Metrics(RequestHandler):  # type: ignore[misc]  # Dask has no types
    """Answers with the metrics of scheduler and workers."""

    async def get(self) -> None:
        """Answer; Tornado calls this."""
        self.set_header("Content-Type", _TEXT)
        try:
            import prometheus_client  # noqa: PLC0415  nobody may ever ask
        except ModuleNotFoundError:
            self.set_status(501)
            self.write(
                "dask-runner: there are no metrics: prometheus-client is missing\n"
                "  needed: prometheus-client where the scheduler and the workers run\n"
                "  you can: pip install 'dask-runner[metrics]'\n"
            )
            return
        all_told = await _of_all(self.server, patience(self.request.headers))
        # A large cluster has many samples, and the scheduler is at work.
        self.write(await asyncio.to_thread(prometheus_client.generate_latest, all_told))


#: For Dask's ``get_handlers``.
routes: list[tuple[str, type[RequestHandler], dict[str, Any]]] = [
    ("metrics", Metrics, {})
]


def patience(headers: Any) -> float:
    """Return how long the workers are waited for."""
    try:
        return min(WORKERS_SECONDS, PART * float(headers.get(_WAITS, "inf")))
    except ValueError:
        return WORKERS_SECONDS


class Told:
    """Families of several processes, by name; a registry of Prometheus reads them."""

    def __init__(self) -> None:
        self._families: dict[str, Metric] = {}

    def add(self, families: Iterable[Family], **labels: str) -> None:
        """Add what one process tells, with more labels."""
        from prometheus_client.core import Metric  # noqa: PLC0415  as above

        for name, documentation, kind, samples in families:
            family = self._families.get(name)
            if family is None:
                family = Metric(name, documentation, kind)
                self._families[name] = family
            for sample, own, value in samples:
                kept = {_EXPORTED * (k in labels) + k: v for k, v in own.items()}
                family.add_sample(sample, kept | labels, value)

    def collect(self) -> Iterable[Metric]:
        """Return the families."""
        return self._families.values()


async def _of_all(scheduler: distributed.Scheduler, seconds: float) -> Told:
    """Return the metrics of the scheduler, and of the workers that answer in time."""
    from distributed.http.scheduler.prometheus import core  # noqa: PLC0415  as above

    told, node = Told(), socket.gethostname()
    own = _families(kind(scheduler) for kind in core.COLLECTORS)
    told.add(own, **{NODE: node})
    workers = list(scheduler.workers.values())
    answers = await asyncio.gather(
        *(_ask(scheduler, worker, seconds) for worker in workers)
    )
    up: list[tuple[str, dict[str, str], float]] = []
    for worker, answer in zip(workers, answers, strict=True):
        labels = {WORKER: str(worker.name)}
        if answer is not None:
            where, families = answer
            told.add(families, **labels, **{NODE: where})
        up.append((_UP, labels, answer is not None))
    told.add([(_UP, _UP_MEANS, "gauge", up)])
    return told


async def _ask(
    scheduler: distributed.Scheduler, worker: WorkerState, seconds: float
) -> tuple[str, list[Family]] | None:
    """Return the node of a worker and its metrics; None if it does not tell them."""
    try:
        async with asyncio.timeout(seconds):
            line = scheduler.rpc(worker.address)
            answer: tuple[str, list[Family]] = await getattr(line, OPERATION)()
            return answer
    except TimeoutError:
        return None
    except Exception:
        # The worker is lost, or its own metrics fail: it is told as one that is down.
        logger.debug("No metrics of worker %s", worker.name, exc_info=True)
        return None


def answer(worker: distributed.Worker) -> None:
    """Have a worker answer the scheduler."""

    def tell() -> tuple[str, list[Family]]:
        from distributed.http.worker.prometheus import core  # noqa: PLC0415  as above

        families = list(_families([core.WorkerMetricCollector(worker)]))
        return socket.gethostname(), families

    worker.handlers[OPERATION] = tell


def _families(collectors: Iterable[Any]) -> Iterator[Family]:
    """Return what collectors tell, and all that this process registers by itself.

    That is the user's own metrics, and those of prometheus-client of any process: its
    CPU time, memory and open files.
    """
    from prometheus_client import REGISTRY  # noqa: PLC0415  as above

    seen: set[str] = set()
    every = itertools.chain.from_iterable(one.collect() for one in collectors)
    for family in itertools.chain(every, REGISTRY.collect()):
        # A worker with a port of its own has registered Dask's, too.
        if family.name not in seen:
            seen.add(family.name)
            samples = [(one.name, one.labels, one.value) for one in family.samples]
            yield family.name, family.documentation, family.type, samples
