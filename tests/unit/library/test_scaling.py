"""What a user means by a number of workers, by memory or by cores."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dask_runner.errors import ConfigError
from dask_runner.library.scaling import within, workers
from tests.unit.records import STATE as CLUSTER

THERE = [{"nthreads": 2, "memory_limit": 4 << 30}] * 2
STATE = replace(CLUSTER, capacity=4, least=1)


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
    bounds = within(minimum, maximum, STATE)
    assert (bounds["minimum"], bounds["maximum"]) == found


@pytest.mark.parametrize(("minimum", "maximum"), [(0, 5), (5, None), (3, 2), (0, 0)])
def test_bounds_that_cannot_be_are_refused(minimum: int, maximum: int | None) -> None:
    with pytest.raises(ConfigError, match="offer 4") as refused:
        within(minimum, maximum, STATE)
    assert "1 to 4" in refused.value.needed


def test_the_least_is_the_clusters_own() -> None:
    assert within(0, None, replace(STATE, least=2))["minimum"] == 2
