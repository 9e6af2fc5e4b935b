"""What a rank has of its node, and what the layout leaves it of that."""

from dataclasses import replace
from pathlib import Path

import pytest

from dask_runner.resources.rank_share import rank_share, without_hub
from tests.unit.machines import GIB, MIB, NODE, bound, given

ROOT = Path(__file__).parents[3]


# Variables.


@pytest.mark.parametrize("text", ["", "many", "-3", "2.5", "0"])
def test_absurd_variables_are_ignored_with_one_warning_each(text: str) -> None:
    names = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE", "SLURM_MEM_PER_CPU")
    share = rank_share(given(**dict.fromkeys(names, text)), 2)
    assert (share.cpus.value, share.memory.value) == (32, 32 * GIB)
    quiet = {"SLURM_MEM_PER_CPU"} if text == "0" else set()
    assert len(share.warnings) == len(set(names) - quiet)


# The layout.


@pytest.mark.parametrize(
    ("has", "keeps"), [(1, 1), (2, 1), (3, 2), (15, 14), (16, 14), (64, 62)]
)
def test_scheduler_and_client_take_cpus_by_the_rule(has: int, keeps: int) -> None:
    share = rank_share(bound(*range(has)), 1, hosts_hub=True)
    assert share.cpus.value == keeps
    assert "scheduler and client" in share.cpus.source


@pytest.mark.parametrize(
    ("has", "keeps"),
    [
        (256 * MIB, 128 * MIB),
        (1 * GIB, 512 * MIB),
        (2 * GIB, 1536 * MIB),
        (16 * GIB, 14 * GIB),
        (256 * GIB, 248 * GIB),
    ],
)
def test_scheduler_and_client_take_memory_by_the_rule(has: int, keeps: int) -> None:
    share = without_hub(rank_share(replace(NODE, memory=has), 1))
    assert share.memory.value == keeps


@pytest.mark.parametrize("local_size", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("memory_of_node", [1, GIB - 1, 1_000_003 * 977])
def test_shares_of_a_node_never_sum_up_to_more_than_it_has(
    local_size: int, memory_of_node: int
) -> None:
    snapshot = replace(NODE, memory=memory_of_node)
    shares = [rank_share(snapshot, local_size, rank) for rank in range(local_size)]
    assert sum(share.cpus.value for share in shares) == 64
    assert sum(share.memory.value for share in shares) <= memory_of_node


# This machine.
