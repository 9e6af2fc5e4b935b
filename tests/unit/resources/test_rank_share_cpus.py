"""How many CPUs a rank has, from masks, quotas and variables."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given as generated
from hypothesis import strategies as st

from dask_runner.resources.rank_share import cpus, knows_its_cpus, rank_share
from dask_runner.resources.worker_share import worker_shares
from tests.unit.machines import MIB, NODE, bound, given, limited


def test_one_rank_has_its_affinity_mask() -> None:
    found = cpus(bound(*range(16)), 1)
    assert (found.value, found.source) == (16, "affinity mask, 16 of 64")


def test_mask_of_the_whole_node_is_shared_by_its_ranks() -> None:
    parts = [cpus(NODE, 3, rank).value for rank in range(3)]
    assert sorted(parts) == [21, 21, 22]


def test_mask_narrower_than_the_parents_belongs_to_the_rank() -> None:
    assert cpus(bound(4, 5), 4).value == 2


def test_mask_that_the_parent_has_too_is_shared() -> None:
    # "taskset -c 0,1 dask-runner -n 2"
    snapshot = replace(NODE, cpus=(0, 1), parent_cpus=(0, 1))
    assert cpus(snapshot, 2).value == 1


def test_bound_ranks_are_told_by_slurms_count_where_the_parent_is_bound_too() -> None:
    # The parent is Apptainer's starter, bound as the rank is.
    snapshot = replace(
        NODE,
        cpus=(0, 1),
        parent_cpus=(0, 1),
        environ={"SLURM_CPUS_ON_NODE": "8", "SLURM_CPUS_PER_TASK": "2"},
    )
    assert cpus(snapshot, 4).value == 2


def test_mask_of_all_cpus_is_shared_whatever_slurm_believes_the_node_has() -> None:
    # "SlurmdParameters=config_overrides" lets a small node claim many CPUs.
    assert cpus(given(SLURM_CPUS_ON_NODE="1024"), 4).value == 16


def test_both_threads_of_a_core_count() -> None:
    # "srun -n4" on a node with hyper-threads binds each task to one core.
    snapshot = replace(
        NODE,
        cpus=(3, 35),
        parent_cpus=(3, 35),
        environ={"SLURM_CPUS_ON_NODE": "8"},
    )
    assert cpus(snapshot, 4).value == 2


@pytest.mark.parametrize(
    ("mine", "others", "count"),
    [
        # Each rank has CPUs of its own, as "mpiexec --bind-to core" gives them.
        ((4, 5), [(0, 1), (2, 3)], 2),
        # Several are bound to one socket.
        (range(16), [range(16), range(16, 32), range(16, 32)], 8),
        # Masks that overlap in part are dealt fairly.
        (range(4), [range(2, 6)], 3),
        # Nobody is bound.
        (range(64), [range(64)] * 3, 16),
    ],
    ids=["own", "a socket", "in part", "not at all"],
)
def test_known_masks_of_the_others_decide_what_a_rank_has(
    mine: Sequence[int], others: list[Sequence[int]], count: int
) -> None:
    # The parent is Apptainer's starter, bound as the rank is, and proves nothing.
    snapshot = replace(NODE, cpus=tuple(mine), parent_cpus=tuple(mine))
    found = cpus(snapshot, 1 + len(others), 0, [mine, *others])
    assert (found.value, found.warnings) == (count, ())


@pytest.mark.parametrize(
    ("cpus", "parent", "on_node", "local_size", "knows"),
    [
        (range(64), range(64), None, 4, True),  # not bound: divided
        (range(16), range(64), None, 4, True),  # bound by its parent: its own
        (range(16), range(16), None, 1, True),  # alone
        (range(16), range(16), "64", 4, True),  # as Slurm binds
        (range(32), range(32), "64", 4, False),  # by sockets: shared with one
        (range(16), range(16), None, 4, False),  # by mpiexec, or taskset around all
        ((), (), None, 4, True),  # no affinity on this system
    ],
)
def test_only_a_part_of_the_node_may_be_ones_own_or_not(
    cpus: Sequence[int],
    parent: Sequence[int],
    on_node: str | None,
    local_size: int,
    knows: bool,
) -> None:
    environ = {"SLURM_CPUS_ON_NODE": on_node} if on_node else {}
    snapshot = replace(
        NODE, cpus=tuple(cpus), parent_cpus=tuple(parent), environ=environ
    )
    assert knows_its_cpus(snapshot, local_size) is knows


MASKS = st.lists(st.frozensets(st.integers(0, 63), min_size=1), min_size=1, max_size=8)


@generated(MASKS, st.integers(1, 64), st.integers(1, 2**40))
def test_ranks_that_know_their_masks_get_no_more_than_the_job_has(
    masks: list[frozenset[int]], on_node: int, size: int
) -> None:
    ranks = len(masks)
    known = [tuple(sorted(mask)) for mask in masks]
    environ = {"SLURM_CPUS_ON_NODE": str(on_node), "SLURM_MEM_PER_CPU": "1000"}
    shares = [
        rank_share(
            replace(NODE, cpus=mask, parent_cpus=mask, memory=size, environ=environ),
            ranks,
            rank,
            masks=known,
        )
        for rank, mask in enumerate(known)
    ]
    # Each has one at least, also where there are more ranks than CPUs.
    most = min(on_node, len(frozenset().union(*masks)))
    extra = sum(share.cpus.warnings != () for share in shares)
    assert sum(share.cpus.value for share in shares) <= most + extra
    whole = min(size, on_node * 1000 * MIB)
    assert sum(share.memory.value for share in shares) <= whole
    limits = [
        worker.memory_limit or 0
        for share in shares
        for worker in worker_shares(share, 3).value
    ]
    assert sum(limits) <= max(whole, len(limits))


@pytest.mark.parametrize("masks", [None, [tuple(range(64))] * 4])
def test_slurm_without_binding_gives_what_it_allocated_not_the_node(
    masks: list[tuple[int, ...]] | None,
) -> None:
    found = cpus(given(SLURM_CPUS_ON_NODE="16"), 4, 0, masks)
    assert (found.value, found.source) == (4, "SLURM_CPUS_ON_NODE=16 / 4 ranks")


def test_uneven_binding_is_kept_as_it_is() -> None:
    snapshot = replace(bound(0, 1, 2), environ={"SLURM_CPUS_ON_NODE": "5"})
    assert cpus(snapshot, 2).value == 3
    assert cpus(snapshot, 2, 0, [(0, 1, 2), (3, 4)]).value == 3


def test_cpus_per_task_is_an_upper_limit() -> None:
    found = cpus(given(SLURM_CPUS_PER_TASK="4"), 2)
    assert (found.value, found.source) == (4, "SLURM_CPUS_PER_TASK=4")


def test_ncpus_counts_only_where_pbs_set_it() -> None:
    assert cpus(given(NCPUS="8", PBS_JOBID="1.server"), 2).value == 4
    assert cpus(given(NCPUS="8"), 2).value == 32


def test_quota_of_a_shared_group_is_divided_and_of_an_own_group_not() -> None:
    assert cpus(limited("cpu", "800000 100000"), 2).value == 4
    assert cpus(limited("cpu", "800000 100000", own=True), 2, 1).value == 8


def test_more_ranks_than_cpus_have_one_each_and_a_warning() -> None:
    found = cpus(limited("cpu", "200000 100000"), 4)
    assert found.value == 1
    assert "more ranks than CPUs" in found.warnings[0]


def test_ranks_say_alike_that_they_are_more_than_cpus_whatever_tells_them() -> None:
    by_mask = cpus(replace(NODE, cpus=(0,), parent_cpus=(0,)), 4)
    by_quota = cpus(limited("cpu", "200000 100000"), 4)

    assert by_mask.source != by_quota.source
    assert by_mask.warnings == by_quota.warnings


@pytest.mark.parametrize("text", ["max 100000", "-1 100000"])
def test_no_quota_is_no_limit_and_no_warning(text: str) -> None:
    found = cpus(limited("cpu", text), 1)
    assert (found.value, found.warnings) == (64, ())


@pytest.mark.parametrize(
    "text", ["0 100000", "100000 0", "100000", "", "x y", "-5 100000", "1e5 1e5"]
)
def test_absurd_quota_is_ignored_with_a_warning(text: str) -> None:
    found = cpus(limited("cpu", text), 1)
    assert found.value == 64
    assert "cgroup /box file says" in found.warnings[0]
