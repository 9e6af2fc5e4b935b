"""How CPUs lie on a machine, from trees as the kernel shows them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from dask_runner.resources.topology import take
from tests.unit.machines import two_sockets

if TYPE_CHECKING:
    from pathlib import Path


def test_cores_are_listed_by_numa_node_with_their_threads(tmp_path: Path) -> None:
    found = take(range(16), two_sockets(tmp_path))
    assert found.nodes == (
        (0, ((0, 8), (1, 9), (2, 10), (3, 11))),
        (1, ((4, 12), (5, 13), (6, 14), (7, 15))),
    )


def test_older_kernels_name_the_file_otherwise(tmp_path: Path) -> None:
    root = two_sockets(tmp_path, siblings="thread_siblings_list")
    assert take((3, 11), root).cores == ((3, 11),)


def test_only_the_cpus_that_are_asked_for_are_listed(tmp_path: Path) -> None:
    root = two_sockets(tmp_path)
    assert take((1, 5, 13), root).nodes == ((0, ((1,),)), (1, ((5, 13),)))


def test_a_numa_node_without_cpus_is_left_out(tmp_path: Path) -> None:
    root = two_sockets(tmp_path)
    memory = tmp_path / "sys/devices/system/node/node2"
    memory.mkdir()
    (memory / "cpulist").write_text("\n")
    assert [number for number, _ in take(range(16), root).nodes] == [0, 1]


def test_a_machine_that_shows_nothing_is_flat(tmp_path: Path) -> None:
    assert take((4, 2), str(tmp_path)).nodes == ((0, ((2,), (4,))),)
    (tmp_path / "sys/devices/system/node/node0").mkdir(parents=True)
    (tmp_path / "sys/devices/system/node/node0/cpulist").write_text("all of them")
    assert take((4, 2), str(tmp_path)).cores == ((2,), (4,))


@given(st.sets(st.sampled_from(sorted(os.sched_getaffinity(0)))))
def test_on_this_machine_each_cpu_is_in_one_core(cpus: set[int]) -> None:
    listed = [cpu for core in take(sorted(cpus)).cores for cpu in core]
    assert sorted(listed) == sorted(cpus)
