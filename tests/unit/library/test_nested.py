"""A runner in a script that the command line has started."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dask_runner.launch.own_variables import LAUNCH_VARIABLE
from dask_runner.launch.world import World
from dask_runner.library.nested import NestedError, refuse_nested

WORLD = replace(World.alone(), key="slurm.c.7.0")


def test_ranks_that_are_a_cluster_become_no_second_one() -> None:
    with pytest.raises(NestedError, match="a cluster already"):
        refuse_nested(WORLD, {LAUNCH_VARIABLE: WORLD.key})


@pytest.mark.parametrize("outer", [{}, {LAUNCH_VARIABLE: "slurm.c.7.1"}])
def test_a_launch_of_its_own_is_no_second_one(outer: dict[str, str]) -> None:
    refuse_nested(WORLD, outer)
    refuse_nested(World.alone(), {LAUNCH_VARIABLE: ""})
