"""Which jobs a cluster has, by what its hub says, and how many it needs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dask_runner.hub.requests import JobState, JoinState, State
from dask_runner.library.join_jobs import Standing
from tests.unit.records import STATE

OWN = "7"


def state(*joins: JoinState, waits: tuple[str, ...] = (), capacity: int = 4) -> State:
    capacity += sum(join.workers for join in joins if not join.leaves)
    heard = [JobState(join.job, joined=True) for join in joins if join.job]
    jobs = [*heard, *(JobState(number, joined=False) for number in waits)]
    return replace(STATE, capacity=capacity, ranks=2, joins=[*joins], jobs=jobs)


def join(number: int, job: str, workers: int = 2, *, leaves: bool = False) -> JoinState:
    return JoinState(f"j{number}", job, 1, workers, leaves)


def test_a_job_waits_until_a_join_of_it_is_there() -> None:
    there = Standing.of(state(join(1, "8"), waits=("9", "10")), OWN)
    assert there.waits == ("9", "10")
    assert there.joined == {"8": ("j1",)}
    assert (there.number, there.workers, there.others) == (3, 2, 4)


def test_several_joins_may_be_of_one_job() -> None:
    there = Standing.of(state(join(1, "8"), join(2, "8"), join(3, "9")), OWN)
    assert there.joined == {"8": ("j1", "j2"), "9": ("j3",)}
    assert (there.number, there.workers) == (2, 6)


def test_joins_of_the_clusters_own_job_and_of_none_are_no_jobs() -> None:
    there = Standing.of(state(join(1, OWN), join(2, "")), OWN)
    assert (there.number, there.workers, there.others) == (0, 0, 8)


def test_a_job_whose_join_leaves_by_itself_may_come_again() -> None:
    there = Standing.of(state(join(1, "8", leaves=True)), OWN)
    assert (there.waits, there.joined, there.others) == (("8",), {}, 4)


@pytest.mark.parametrize(
    ("workers", "ranks", "needed"),
    [(4, 1, 0), (5, 1, 1), (6, 1, 1), (7, 1, 2), (9, 4, 1)],
)
def test_a_job_is_expected_to_bring_what_own_ranks_do(
    workers: int, ranks: int, needed: int
) -> None:
    assert Standing.of(state(), OWN).needed(workers, ranks) == needed


@pytest.mark.parametrize(("workers", "needed"), [(1, 0), (7, 1), (8, 2)])
def test_a_job_is_expected_to_bring_what_others_have_brought(
    workers: int, needed: int
) -> None:
    there = Standing.of(state(join(1, "8", 3)), OWN)
    assert there.needed(workers, ranks=50) == needed
