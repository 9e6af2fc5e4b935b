"""This machine, as it is."""

import os

import pytest

from dask_runner.resources.machine import take
from dask_runner.resources.rank_share import rank_share
from tests.unit.environs import environ


def test_snapshot_of_this_machine_is_what_the_system_says() -> None:
    snapshot = take(os.environ)
    assert set(snapshot.cpus) == os.sched_getaffinity(0)
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert snapshot.memory == pytest.approx(pages, rel=0.05)
    assert rank_share(snapshot, 1).memory.value <= snapshot.memory


def test_a_rank_of_a_component_counts_its_own_cpus() -> None:
    snapshot = take(environ("slurm-het-components-rank0"))
    assert snapshot.environ["SLURM_CPUS_PER_TASK"] == "3"
    assert snapshot.environ["SLURM_MEM_PER_NODE"] == "1024"
    assert "SLURM_CPUS_PER_TASK" not in take(environ("slurm-het-srun-rank0")).environ
