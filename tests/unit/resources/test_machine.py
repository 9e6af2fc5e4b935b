"""This machine, as it is."""

import os

import pytest

from dask_runner.resources.machine import take
from dask_runner.resources.rank_share import rank_share


def test_snapshot_of_this_machine_is_what_the_system_says() -> None:
    snapshot = take(os.environ)
    assert set(snapshot.cpus) == os.sched_getaffinity(0)
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert snapshot.memory == pytest.approx(pages, rel=0.05)
    assert rank_share(snapshot, 1).memory.value <= snapshot.memory
