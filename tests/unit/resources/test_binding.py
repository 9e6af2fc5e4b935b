"""Which CPUs a rank's workers are bound to."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_runner.resources.binding import bind
from dask_runner.resources.cgroups import Limit
from dask_runner.resources.cpusets import from_list_format, in_list_format
from dask_runner.resources.rank_share import rank_share
from dask_runner.resources.topology import Topology, take
from dask_runner.resources.worker_share import worker_shares
from tests.unit.machines import NODE, two_sockets

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dask_runner.launch.sourced import Sourced
    from dask_runner.resources.machine import Snapshot
    from dask_runner.resources.worker_share import WorkerShare


def rank(cpus: str, **changes: object) -> Snapshot:
    """Return a rank with these CPUs, of a node with 64."""
    return replace(NODE, cpus=from_list_format(cpus), **changes)


def bound(
    snapshot: Snapshot,
    workers: int,
    root: str = "",
    *,
    allocated: bool = True,
    hosts_hub: bool = False,
    local_size: int = 1,
) -> Sourced[tuple[WorkerShare, ...]]:
    share = rank_share(snapshot, local_size, hosts_hub=hosts_hub)
    shares = worker_shares(share, workers).value

    def look(cpus: Sequence[int]) -> Topology:
        return take(cpus, root or "/nowhere")

    return bind(share, shares, allocated=allocated, look=look)


@pytest.mark.parametrize(
    ("cpus", "workers", "sets"),
    [
        ("0-15", 2, ["0-3,8-11", "4-7,12-15"]),  # one each of the NUMA nodes
        ("0-15", 4, ["0-1,8-9", "2-3,10-11", "4-5,12-13", "6-7,14-15"]),
        ("0-15", 8, [f"{core},{core + 8}" for core in range(8)]),
        ("0-15", 16, [f"{n // 2 + n % 2 * 8}" for n in range(16)]),
        ("0-3,8-11", 2, ["0-1,8-9", "2-3,10-11"]),
        # A rank with more of one node than of the other: two workers there.
        ("0-3,8-11,4-5,12-13", 3, ["0-1,8-9", "2-3,10-11", "4-5,12-13"]),
        # Three of one size cannot do without one that spans both.
        ("0-15", 3, ["0-2,8-9", "3-4,10-12", "5-7,13-15"]),
        # Cores that cannot be divided evenly by cores are divided by threads.
        ("0-2,8-10", 2, ["0-1,8", "2,9-10"]),
        ("0-7", 2, ["0-3", "4-7"]),  # one thread of each core
    ],
)
def test_workers_have_cores_of_one_numa_node_where_that_is_fair(
    tmp_path: Path, cpus: str, workers: int, sets: list[str]
) -> None:
    found = bound(rank(cpus), workers, two_sockets(tmp_path)).value
    assert [in_list_format(worker.cpus) for worker in found] == sets
    assert all(worker.nthreads <= len(worker.cpus) for worker in found)


def test_scheduler_and_client_have_room_between_the_workers(tmp_path: Path) -> None:
    root = two_sockets(tmp_path)
    found = bound(rank("0-15"), 2, root, hosts_hub=True)
    sets = [in_list_format(one.cpus) for one in found.value]
    assert sets == ["0-3,8-11", "4-7,12-15"]
    assert [one.nthreads for one in found.value] == [7, 7]
    assert found.source == "16 CPUs on 8 cores of NUMA nodes 0, 1"


QUOTA = Limit("cpu", "/box", "cpu.max", "800000 100000")


@pytest.mark.parametrize(
    ("snapshot", "how", "why"),
    [
        (rank("0-15"), {"workers": 1}, "one worker has all"),
        (rank("0-15"), {"workers": 17}, "more workers than CPUs"),
        (rank("0-15", limits=(QUOTA,)), {"workers": 2}, "no affinity mask"),
        (rank("0-15", environ={"SLURM_CPUS_PER_TASK": "8"}), {"workers": 2}, "no aff"),
        (rank("0-15", parent_cpus=range(16)), {"local_size": 2}, "no affinity mask"),
        (rank("0-63"), {"allocated": False}, "no launcher gave it"),
        (rank("0-15", environ={"CUDA_VISIBLE_DEVICES": "0,1"}), {}, "GPUs"),
        (rank(""), {}, "no affinity mask"),
    ],
    ids=["one", "many", "quota", "Slurm's", "shared", "laptop", "GPUs", "macOS"],
)
def test_workers_are_not_bound_where_that_makes_no_sense(
    snapshot: Snapshot, how: dict[str, int], why: str
) -> None:
    found = bound(snapshot, **{"workers": 2, **how})  # type: ignore[arg-type]
    assert all(worker.cpus == () for worker in found.value)
    assert found.source.startswith("not bound: ")
    assert why in found.source


def test_part_of_a_machine_is_the_ranks_own_without_a_launcher() -> None:
    # "docker run --cpuset-cpus 0-3"
    found = bound(rank("0-3"), 2, allocated=False).value
    assert [worker.cpus for worker in found] == [(0, 1), (2, 3)]


@given(
    st.frozensets(st.integers(0, 63), min_size=2),
    st.integers(2, 64),
    st.lists(st.integers(0, 3), min_size=64, max_size=64),
    st.integers(1, 4),
)
def test_no_cpu_is_given_to_two_workers_and_each_has_one_for_each_thread(
    cpus: frozenset[int], workers: int, nodes: list[int], threads: int
) -> None:
    def look(_: Sequence[int]) -> Topology:
        cores: dict[tuple[int, int], list[int]] = {}
        for cpu in sorted(cpus):
            cores.setdefault((nodes[cpu], cpu // threads), []).append(cpu)
        return Topology(
            tuple(
                (node, tuple(tuple(c) for (n, _), c in cores.items() if n == node))
                for node in sorted({node for node, _ in cores})
            )
        )

    share = rank_share(replace(NODE, cpus=tuple(sorted(cpus))), 1)
    shares = worker_shares(share, workers).value
    sets = [one.cpus for one in bind(share, shares, allocated=True, look=look).value]
    if workers > len(cpus):
        assert not any(sets)
        return
    dealt = [cpu for one in sets for cpu in one]
    assert sorted(dealt) == sorted(cpus)
    assert min(map(len, sets)) >= shares[0].nthreads
