"""What is kept of a run."""

from __future__ import annotations

from typing import Any

from dask_runner.hub import history as h
from dask_runner.hub import messages as m
from dask_runner.hub.history import History
from dask_runner.launch.world import World
from tests.reports import WORK


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def history() -> tuple[History, Clock]:
    clock = Clock()
    return History(World.alone(), "shared", clock), clock


def test_moments_are_thinned_out_in_a_long_run() -> None:
    kept, clock = history()
    for _ in range(5000):
        clock.now += 1
        kept.computes(WORK)
    assert h.MOST_MOMENTS / 4 <= len(kept.moments) <= h.MOST_MOMENTS
    assert kept.moments[0].after == 1
    assert kept.moments[-1].after > 4900


def test_a_worker_that_dies_for_ever_fills_no_memory() -> None:
    kept, _ = history()
    for number in range(h.MOST_LOSSES + 3):
        kept.loses("worker", "1", "c1", f"died {number}", "started again")
    assert len(kept.losses) == h.MOST_LOSSES
    assert kept.losses_left_out == 3


def test_the_cause_of_a_loss_is_no_advice() -> None:
    kept, _ = history()
    how = (
        "was killed (it used 9 of 8; you can: give it more (fewer a node), or less)\n|"
    )
    kept.loses("worker", "1", "c1", how, "started again")
    assert kept.losses[0].cause == "was killed (it used 9 of 8)"


def test_what_leaves_at_the_end_is_not_lost() -> None:
    kept, clock = history()
    node: Any = type("Node", (), {"name": "c1", "group": Group()})()
    other: Any = type("Node", (), {"name": "c2", "group": Group()})()
    kept.came(node)
    kept.came(other)
    clock.now += 5
    kept.went(other, "no connection any more")
    kept.decides(0)
    kept.uses(node, m.Usage(1.0, 1, 1, 1, 1, 0, []))
    kept.went(node, "no connection any more")
    assert [one.lost for one in kept.nodes.values()] == ["", "no connection any more"]
    assert [one.gone for one in kept.nodes.values()] == [5, 5]
    assert kept.nodes[node].final


class Group:
    join = ""
    leaves = False
