"""From a size and a layout to who plays what."""

from __future__ import annotations

import pytest

from dask_runner.errors import ConfigError
from dask_runner.launch.plan import LAYOUTS, Role, check_spare, make_plan

EVERYTHING = frozenset(Role)


def test_in_the_shared_layout_rank_0_plays_everything_and_all_work() -> None:
    chosen = make_plan(3, "shared")
    assert chosen.roles(0) == EVERYTHING
    assert chosen.roles(1) == chosen.roles(2) == {Role.worker}
    assert chosen.workers == (0, 1, 2)


def test_in_the_dedicated_layout_each_rank_plays_one_part() -> None:
    chosen = make_plan(4, "dedicated")
    assert chosen.roles(0) == {Role.scheduler}
    assert chosen.roles(1) == {Role.client}
    assert chosen.roles(2) == chosen.roles(3) == {Role.worker}


def test_one_rank_is_a_cluster_in_the_shared_layout() -> None:
    assert make_plan(1, "shared").roles(0) == EVERYTHING


@pytest.mark.parametrize("size", [1, 2])
def test_too_few_ranks_are_an_error_that_says_how_many_are_needed(size: int) -> None:
    with pytest.raises(ConfigError) as caught:
        make_plan(size, "dedicated")
    assert caught.value.saw.startswith(f"{size} rank")
    assert "3 ranks" in caught.value.needed
    assert "shared" in caught.value.do


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [3, 4, 100])
def test_every_rank_has_a_part_and_every_part_a_rank(layout: str, size: int) -> None:
    chosen = make_plan(size, layout)
    parts = [chosen.roles(rank) for rank in range(size)]
    assert all(parts)
    assert frozenset().union(*parts) == EVERYTHING
    for single in (Role.scheduler, Role.client):
        assert sum(single in part for part in parts) == 1


def test_a_rank_outside_the_plan_has_no_part() -> None:
    assert make_plan(3, "dedicated").roles(3) == frozenset()


@pytest.mark.parametrize(
    ("size", "layout", "most"),
    [(1, "shared", 0), (5, "shared", 4), (3, "dedicated", 0), (5, "dedicated", 2)],
)
def test_more_spare_nodes_than_ranks_that_can_wait_are_an_error(
    size: int, layout: str, most: int
) -> None:
    chosen = make_plan(size, layout)
    check_spare(chosen, size, most, on_one_node=False)
    with pytest.raises(ConfigError) as caught:
        check_spare(chosen, size, most + 1, on_one_node=False)
    assert f"of which {most} can wait" in caught.value.saw
    assert f"start {size + 1} ranks" in caught.value.do


def test_ranks_of_one_node_have_no_spare_one() -> None:
    chosen = make_plan(4, "shared")
    check_spare(chosen, 4, 0, on_one_node=True)
    with pytest.raises(ConfigError, match="4 ranks on one node"):
        check_spare(chosen, 4, 1, on_one_node=True)
