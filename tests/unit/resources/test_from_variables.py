"""What the launcher's variables give a rank, and what they do not say."""

from __future__ import annotations

import pytest

from dask_runner.resources.from_variables import given_cpus, given_memory
from dask_runner.resources.gpus import Gpus
from tests.unit.machines import MIB, given


def cpus(local_size: int = 2, local_rank: int = 0, **environ: str) -> list[int]:
    warnings: list[str] = []
    found = given_cpus(given(**environ), local_size, local_rank, warnings)
    return [count for count, _ in found]


def memory(
    count: int = 4, cards: Gpus | None = None, **environ: str
) -> list[tuple[int, str]]:
    """Return what one of two ranks with so many CPUs is given, in MiB."""
    warnings: list[str] = []
    found = given_memory(given(**environ), 2, count, cards or Gpus(), warnings)
    return [(size // MIB, source) for size, source in found]


def test_slurm_gives_each_rank_its_own_cpus() -> None:
    assert cpus(SLURM_CPUS_PER_TASK="6") == [6]


@pytest.mark.parametrize(("local_rank", "count"), [(0, 3), (1, 4)])
def test_pbs_gives_the_node_cpus_that_its_ranks_divide(
    local_rank: int, count: int
) -> None:
    assert cpus(local_rank=local_rank, NCPUS="7", PBS_JOBID="1.server") == [count]


def test_a_number_of_cpus_that_users_set_for_themselves_says_nothing() -> None:
    assert cpus(NCPUS="7") == []


def test_nothing_set_gives_nothing() -> None:
    assert cpus() == []
    assert memory() == []


@pytest.mark.parametrize(
    ("environ", "size", "source"),
    [
        ({"SLURM_MEM_PER_NODE": "1000"}, 500, "SLURM_MEM_PER_NODE=1000 MiB / 2 ranks"),
        ({"SLURM_MEM_PER_CPU": "100"}, 400, "SLURM_MEM_PER_CPU=100 MiB x 4 CPUs"),
        (
            # Two ranks of four CPUs each, some shared: the node was given six.
            {"SLURM_MEM_PER_CPU": "100", "SLURM_CPUS_ON_NODE": "6"},
            300,
            "SLURM_MEM_PER_CPU=100 MiB x 3 CPUs",
        ),
    ],
)
def test_memory_is_given_by_node_or_by_cpu(
    environ: dict[str, str], size: int, source: str
) -> None:
    assert memory(**environ) == [(size, source)]


def test_memory_by_gpu_is_that_of_the_ranks_own_part_of_them() -> None:
    shared = Gpus(own=("0", "1"), sharers=4)

    assert memory(cards=shared, SLURM_MEM_PER_GPU="800") == [
        (400, "SLURM_MEM_PER_GPU=800 MiB x 0.5 GPUs")
    ]
    assert memory(SLURM_MEM_PER_GPU="800") == []


def test_all_memory_of_the_node_is_no_number() -> None:
    assert memory(SLURM_MEM_PER_NODE="0") == []
