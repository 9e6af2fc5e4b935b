"""The report as plain values, and what it says that it does not know."""

from __future__ import annotations

import json
from typing import Any

from dask_runner.hub import messages as m
from dask_runner.hub.history import History
from dask_runner.hub.run_report import report
from dask_runner.launch.world import World
from tests.reports import WORK, valid
from tests.unit.hub.test_history import Clock, Group


def node(name: str, first: int = 0) -> Any:
    known = {"name": name, "group": Group(), "order": (0, False, first)}
    return type("Node", (), known)()


def usage(cpu: float = 8.0, *workers: m.WorkerUsage) -> m.Usage:
    return m.Usage(cpu, 50, 80, 4, 1000, 100, list(workers))


def told(history: History) -> dict[str, Any]:
    return valid(json.dumps(report(history)))


def test_a_run_that_knows_nothing_yet_is_a_report() -> None:
    one = told(History(World.alone(), "shared"))
    assert not one["final"]
    assert one["work"] is None
    assert one["cpu"] == {"seconds": None, "seconds_allotted": None, "share": None}


def test_the_figures_of_several_nodes_are_summed() -> None:
    clock = Clock()
    history = History(World.alone(), "shared", clock)
    first, second = node("c1"), node("c2")
    history.came(first)
    history.came(second)
    clock.now += 10
    history.uses(first, usage(8.0, m.WorkerUsage("0", 2, 500, 90)))
    history.uses(second, usage(2.0, m.WorkerUsage("10", 2, 0, 0)))
    history.uses(second, usage(4.0, m.WorkerUsage("10", 2, 0, 0)))
    history.decides(0)
    one = told(history)
    assert one["cpu"] == {"seconds": 12.0, "seconds_allotted": 80.0, "share": 0.15}
    # A node has no less than one of its workers: 90 here, and 80 there.
    assert one["memory"] == {"peak": 170, "allotted": 2000}
    assert [worker["name"] for worker in one["workers"]] == ["0", "10"]
    assert one["workers"][1]["memory_limit"] is None


def test_nodes_are_in_the_order_of_their_ranks_whichever_came_first() -> None:
    history = History(World.alone(), "shared")
    for one in (node("c2", 2), node("c3", 4), node("c1", 0)):
        history.came(one)
    assert [one["name"] for one in told(history)["nodes"]] == ["c1", "c2", "c3"]


def test_threads_that_came_and_went_count_for_as_long_as_they_were_there() -> None:
    clock = Clock()
    history = History(World.alone(), "shared", clock)
    history.ready = 0.0
    clock.now += 10
    history.computes(m.Work(**{**vars(WORK), "nthreads": 4, "computed": 20.0}))
    clock.now += 10
    history.computes(m.Work(**{**vars(WORK), "nthreads": 2, "computed": 30.0}))
    clock.now += 10
    history.decides(0)
    # 4 for 20 s, then 2 for 10 s.
    assert told(history)["work"]["idle"] == 0.7


def test_it_says_what_it_does_not_know() -> None:
    clock = Clock()
    history = History(World.alone(), "shared", clock)
    silent, lost = node("c1"), node("c2")
    history.came(silent)
    history.came(lost)
    history.ready = 1.0
    clock.now += 5
    history.uses(lost, usage())
    history.computes(WORK)
    clock.now += 7
    history.went(lost, "no sign of life")
    clock.now += 2
    history.decides(69)
    history.ended = 15.0
    one = told(history)
    assert one["unknown"] == [
        "what c1 used: it has told nothing",
        "what c2 used in its last 7 s",
        "tasks and data of the last 9 s: the scheduler was gone",
    ]
    assert one["nodes"][1]["lost"] == "no sign of life"
