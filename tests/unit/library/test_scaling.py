"""What a user means by a number of workers, by memory or by cores."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest

from dask_runner.errors import ConfigError, UsageError
from dask_runner.library.scaling import bounds, job_bounds, job_count, workers
from tests.unit.records import STATE as CLUSTER

if TYPE_CHECKING:
    from dask_runner.library.join_jobs import JoinJobs

THERE = [{"nthreads": 2, "memory_limit": 4 << 30}] * 2
STATE = replace(CLUSTER, capacity=4, least=1)
#: They are only counted here.
NO_JOBS = cast("JoinJobs", None)


def asked(
    minimum: int | None, maximum: float | None, *, grows: bool = False
) -> tuple[float, float]:
    found = bounds(minimum, maximum, STATE, grows=grows)
    return found["minimum"], found["maximum"]


@pytest.mark.parametrize(
    ("number", "memory", "cores", "found"),
    [
        (3, None, None, 3),
        (None, "12 GiB", None, 3),
        (None, 12 << 30, None, 3),
        (None, "12.1 GiB", None, 4),
        (None, None, 5, 3),
        (1, "12 GiB", 7, 4),
        (0, None, None, 0),
    ],
)
def test_the_largest_of_what_is_asked_for_counts(
    number: int | None, memory: str | None, cores: int | None, found: int
) -> None:
    assert workers(number, memory, cores, THERE) == found


def test_nothing_asked_for_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="scale"):
        workers(None, None, None, THERE)


@pytest.mark.parametrize("there", [[], [{"nthreads": 1, "memory_limit": 0}]])
def test_without_a_limit_nobody_knows_what_memory_means(there: list[object]) -> None:
    with pytest.raises(ConfigError, match="memory limit"):
        workers(None, "1 GiB", None, there)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("minimum", "maximum", "found"),
    [
        (None, None, (1, 4)),
        (0, float("inf"), (1, 4)),
        (2, 3, (2, 3)),
        (4, 4, (4, 4)),
    ],
)
def test_bounds_are_within_what_the_nodes_offer(
    minimum: int | None, maximum: float | None, found: tuple[int, int]
) -> None:
    assert asked(minimum, maximum) == found


@pytest.mark.parametrize(("minimum", "maximum"), [(0, 5), (5, None), (3, 2), (0, 0)])
def test_bounds_that_cannot_be_are_refused(minimum: int, maximum: int | None) -> None:
    with pytest.raises(ConfigError, match="offer 4") as refused:
        asked(minimum, maximum)
    assert "1 to 4" in refused.value.needed


def test_the_least_is_the_clusters_own() -> None:
    state = replace(STATE, least=2)
    assert bounds(0, None, state, grows=False)["minimum"] == 2


@pytest.mark.parametrize(
    ("minimum", "maximum", "found"),
    [(None, None, (1, math.inf)), (6, 9, (6, 9)), (0, math.inf, (1, math.inf))],
)
def test_with_jobs_there_may_be_more_than_the_nodes_offer(
    minimum: int | None, maximum: float | None, found: tuple[int, float]
) -> None:
    assert asked(minimum, maximum, grows=True) == found


def test_a_maximum_below_the_minimum_is_refused_with_jobs_too() -> None:
    with pytest.raises(ConfigError, match="from 6 to 5 workers"):
        asked(6, 5, grows=True)


@pytest.mark.parametrize("number", [0, 3, "3", 2.0])
def test_a_number_of_jobs_is_whole(number: object) -> None:
    assert job_count(number) == int(str(number)[0])


@pytest.mark.parametrize("number", [-1, 2.5, "two", None])
def test_what_is_no_number_of_jobs_is_refused(number: object) -> None:
    with pytest.raises(UsageError, match="jobs"):
        job_count(number)


@pytest.mark.parametrize(
    ("low", "high", "workers", "found"),
    [
        (None, 4, None, (0, 4)),
        (2, 4, 9, (2, 4)),
        (None, None, 9, (0, math.inf)),
        (0, 0, None, (0, 0)),
    ],
)
def test_jobs_are_bounded_by_their_number_or_that_of_the_workers(
    low: int | None, high: int | None, workers: int | None, found: tuple[int, float]
) -> None:
    jobs = job_bounds(low, high, workers, NO_JOBS)
    assert (jobs.minimum, jobs.maximum) == found


@pytest.mark.parametrize(
    ("low", "high", "workers"), [(None, None, None), (1, None, math.inf), (3, 2, None)]
)
def test_jobs_without_an_end_are_refused(
    low: int | None, high: int | None, workers: float | None
) -> None:
    with pytest.raises(UsageError, match=r"adapt\(\) with"):
        job_bounds(low, high, workers, NO_JOBS)
