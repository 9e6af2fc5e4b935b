"""What a node tells the hub of its use, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dask_runner.launch.sourced import Sourced
from dask_runner.node import messages as n
from dask_runner.node.usage import NodeUsage
from dask_runner.resources.gpus import Gpus
from dask_runner.resources.rank_share import RankShare
from dask_runner.resources.usage import Look

if TYPE_CHECKING:
    from dask_runner.hub import messages as m

SHARE = RankShare(
    Sourced(3, ""), Sourced(700, ""), Sourced(Gpus(()), ""), (), False, 1, 300
)


class Tree:
    """A tree of processes whose memory goes up and down."""

    def __init__(self, *memory: int) -> None:
        self._memory = iter(memory)
        self.peaks: dict[int, int] = {}
        self.roots: set[int] = set()

    def look(self, roots: set[int]) -> Look:
        self.roots = roots
        return Look(1.5, next(self._memory), 2)

    def peak(self, pid: int) -> int:
        return self.peaks.get(pid, 0)


def measured(tree: Any) -> tuple[NodeUsage, list[m.Usage]]:
    said: list[m.Usage] = []
    return NodeUsage(said.append, tree), said


def test_a_node_tells_its_peak_and_what_its_ranks_were_given() -> None:
    tree = Tree(50, 90, 20)
    usage, said = measured(tree)
    usage.watch(7, 0)
    usage.has(0, SHARE)
    usage.has(1, SHARE)
    usage.look()
    usage.look()
    usage.end()
    (told,) = said
    assert (told.cpu, told.memory, told.peak) == (1.5, 20, 90)
    assert (told.cpus, told.given, told.taken) == (8, 2000, 600)
    assert tree.roots == {7}


def test_the_peak_of_a_worker_outlives_its_process() -> None:
    tree = Tree(1, 1, 1)
    usage, said = measured(tree)
    usage.has(0, SHARE)
    usage.workers_run(n.WorkersRun([n.RunningWorker("0", 11, 1, 400)]))
    tree.peaks[11] = 300
    usage.look()
    usage.worker_had(n.WorkerHad("0", 390))
    usage.workers_run(n.WorkersRun([n.RunningWorker("0", 12, 1, 400)]))
    tree.peaks[12] = 60
    usage.end()
    (worker,) = said[0].workers
    assert (worker.name, worker.memory_limit, worker.peak) == ("0", 400, 390)


def test_a_node_without_workers_that_ends_early_tells_nothing() -> None:
    usage, said = measured(Tree())
    usage.close()
    usage.end()
    assert said == []
