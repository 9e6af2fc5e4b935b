import ast
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given as generated
from hypothesis import strategies as st
from machines import GIB, MIB, NODE, captured

from dask_runner.cgroups import Limit
from dask_runner.resources import (
    cpus,
    knows_its_cpus,
    memory,
    rank_share,
    without_hub,
)
from dask_runner.shares import worker_shares
from dask_runner.snapshot import Snapshot, take

ROOT = Path(__file__).parents[2]


def given(**environ: str) -> Snapshot:
    return replace(NODE, environ=environ)


def bound(*numbers: int) -> Snapshot:
    return replace(NODE, cpus=numbers)


def limited(resource: str, text: str, **attributes: bool) -> Snapshot:
    return replace(NODE, limits=(Limit(resource, "/box", "file", text, **attributes),))


# Memory, from captured trees.


def test_slurm_v1_limits_the_job_above_the_task_and_its_ranks_share_it(
    tmp_path: Path,
) -> None:
    found = memory(captured("slurm-v1", tmp_path), 2)
    assert found.value == 4 * GIB
    assert found.source.endswith("step_0 memory.limit_in_bytes / 2 ranks")
    assert found.warnings == ()


def test_slurm_v2_leaf_says_max_and_the_way_up_says_the_truth(tmp_path: Path) -> None:
    found = memory(captured("slurm-v2", tmp_path), 4)
    assert found.value == 4194304000 // 4
    assert "/job_4749/step_0/user memory.max" in found.source


def test_slurm_v2_user_group_is_shared_though_the_parent_is_outside(
    tmp_path: Path,
) -> None:
    limits = captured("slurm-v2", tmp_path).limits
    own = {limit.group.rpartition("/")[2] for limit in limits if limit.own}
    assert own == {"task_0"}


def test_container_that_hides_the_step_falls_back_on_slurm_variables(
    tmp_path: Path,
) -> None:
    snapshot = captured("pyxis-v2", tmp_path, environ={"SLURM_MEM_PER_NODE": "4000"})
    found = memory(snapshot, 2)
    assert found.value == 2000 * MIB
    assert found.source == "SLURM_MEM_PER_NODE=4000 MiB / 2 ranks"


@pytest.mark.parametrize(
    ("name", "size", "quota"), [("docker-v1", GIB, 1), ("docker-v2", 2 * GIB, 2)]
)
def test_docker_limits_are_read_in_either_version(
    tmp_path: Path, name: str, size: int, quota: int
) -> None:
    snapshot = captured(name, tmp_path)
    assert memory(snapshot, 1).value == size
    assert cpus(snapshot, 1).value == quota
    assert cpus(snapshot, 1).source.startswith(f"cgroup quota {quota}.5")


def test_hierarchical_limit_shows_what_a_container_hides(tmp_path: Path) -> None:
    snapshot = captured("docker-v1", tmp_path)
    limits = tuple(
        replace(limit, text="9223372036854771712")
        if limit.file == "memory.limit_in_bytes"
        else limit
        for limit in snapshot.limits
    )
    assert memory(replace(snapshot, limits=limits), 1).value == GIB


def test_hybrid_machine_without_limits_gives_the_node(tmp_path: Path) -> None:
    snapshot = captured("hybrid", tmp_path)
    assert memory(snapshot, 1).value == 24684100 * 1024
    assert memory(snapshot, 1).source == "memory of the node"
    assert cpus(snapshot, 1).source == "affinity mask, 16 of 16"
    assert memory(snapshot, 1).warnings == cpus(snapshot, 1).warnings == ()


def test_hybrid_machine_is_limited_by_either_version(tmp_path: Path) -> None:
    captured("hybrid", tmp_path)
    first = tmp_path / "sys/fs/cgroup/memory/jobs"
    (first / "memory.limit_in_bytes").write_text(f"{6 * GIB}\n")
    (tmp_path / "sys/fs/cgroup/cpu/cpu.cfs_quota_us").write_text("300000\n")
    unified = tmp_path / "sys/fs/cgroup/unified"
    snapshot = take({}, root=str(tmp_path))
    assert memory(snapshot, 2).value == 3 * GIB
    assert "/jobs memory.limit_in_bytes" in memory(snapshot, 2).source
    assert cpus(replace(snapshot, cpus=tuple(range(16))), 1).value == 3
    # And by version 2's, should it have that controller.
    (unified / "memory.max").write_text(f"{4 * GIB}\n")
    assert memory(take({}, root=str(tmp_path)), 2).value == 2 * GIB


def test_limit_of_one_container_a_rank_is_not_divided(tmp_path: Path) -> None:
    found = memory(captured("apptainer-v2", tmp_path), 2)
    assert found.value == GIB
    assert found.source.endswith("apptainer-4242.scope memory.max")


def test_limit_of_one_container_for_all_ranks_is_divided(tmp_path: Path) -> None:
    # "apptainer run --memory 1G image -n 4": the parent is in the container, too.
    snapshot = captured("apptainer-v2", tmp_path)
    parent = tmp_path / f"proc/{os.getppid()}/cgroup"
    parent.write_text((tmp_path / "proc/self/cgroup").read_text())
    snapshot = take({}, root=str(tmp_path))
    assert memory(snapshot, 4).value == GIB // 4


def test_machine_that_shows_nothing_at_all_still_gives_an_answer(
    tmp_path: Path,
) -> None:
    snapshot = take({}, root=str(tmp_path / "missing"))
    assert snapshot.limits == ()
    assert rank_share(snapshot, 1).memory.value > 0
    nothing = replace(snapshot, cpus=(), parent_cpus=(), online=1, memory=0)
    assert cpus(nothing, 1).value == 1
    assert memory(nothing, 2).value == GIB
    assert "unknown" in memory(nothing, 2).warnings[0]


# Memory, from variables.


def test_without_limits_the_ranks_divide_the_node() -> None:
    found = memory(NODE, 4)
    assert (found.value, found.source) == (16 * GIB, "memory of the node / 4 ranks")


def test_memory_per_cpu_counts_the_cpus_of_this_rank() -> None:
    snapshot = replace(bound(0, 1, 2), environ={"SLURM_MEM_PER_CPU": "1000"})
    assert memory(snapshot, 4).value == 3000 * MIB


def test_memory_per_cpu_of_shared_cpus_never_exceeds_what_the_node_was_given() -> None:
    snapshot = given(SLURM_MEM_PER_CPU="1000", SLURM_CPUS_ON_NODE="2")
    assert cpus(snapshot, 4).value == 1
    assert memory(snapshot, 4).value == 500 * MIB


def test_memory_per_gpu_counts_the_gpus_of_this_rank() -> None:
    environ = {"SLURM_MEM_PER_GPU": "8000", "CUDA_VISIBLE_DEVICES": "0,1,2,3"}
    assert memory(given(**environ), 2).value == 16000 * MIB
    assert memory(given(**environ), 8).value == 4000 * MIB


def test_stale_memory_per_node_does_not_raise_the_limit_of_the_step(
    tmp_path: Path,
) -> None:
    snapshot = captured("slurm-v2", tmp_path, environ={"SLURM_MEM_PER_NODE": "64000"})
    assert memory(snapshot, 1).value == 4194304000


def test_stale_memory_per_node_does_not_lower_the_limit_of_the_step(
    tmp_path: Path,
) -> None:
    snapshot = captured("slurm-v2", tmp_path, environ={"SLURM_MEM_PER_NODE": "100"})
    assert memory(snapshot, 1).value == 4194304000


def test_stale_memory_per_node_counts_beside_memory_per_cpu_only_if_it_is_less() -> (
    None
):
    # "srun --mem-per-cpu" in a job with "--mem": the step's tasks have both.
    both = {"SLURM_MEM_PER_CPU": "1000", "SLURM_CPUS_ON_NODE": "4"}
    found = memory(given(**both, SLURM_MEM_PER_NODE="64000"), 2)
    assert (found.value, found.source) == (
        2000 * MIB,
        "SLURM_MEM_PER_CPU=1000 MiB x 2 CPUs",
    )
    assert memory(given(**both, SLURM_MEM_PER_NODE="3000"), 2).value == 1500 * MIB


def test_memory_of_hyper_threads_is_counted_as_slurm_counts_them() -> None:
    # One core of two threads a task: Slurm gives memory for both.
    snapshot = replace(
        NODE,
        cpus=(3, 35),
        parent_cpus=(3, 35),
        environ={"SLURM_CPUS_ON_NODE": "8", "SLURM_MEM_PER_CPU": "500"},
    )
    assert memory(snapshot, 4).value == 1000 * MIB


def test_limit_that_is_not_slurms_does_not_hide_slurms_variables() -> None:
    snapshot = replace(
        limited("memory", str(60 * GIB)), environ={"SLURM_MEM_PER_NODE": "4096"}
    )
    assert memory(snapshot, 1).value == 4 * GIB


def test_all_memory_of_the_node_is_what_slurm_writes_as_zero() -> None:
    found = memory(given(SLURM_MEM_PER_NODE="0"), 1)
    assert (found.value, found.warnings) == (64 * GIB, ())


# CPUs.


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


@pytest.mark.parametrize("text", ["0", "-1", "4G", "٣", "nan"])
def test_absurd_memory_limit_is_ignored_with_a_warning(text: str) -> None:
    found = memory(limited("memory", text), 1)
    assert found.value == 64 * GIB
    assert repr(text) in found.warnings[0]


@pytest.mark.parametrize("text", ["max", str(2**63), str(2**63 - 4096), str(2**64)])
def test_unlimited_memory_is_no_limit_and_no_warning(text: str) -> None:
    found = memory(limited("memory", text), 1)
    assert (found.value, found.warnings) == (64 * GIB, ())


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


def python(code: str, *before: str) -> str:
    command = [*before, sys.executable, "-c", code]
    environ = os.environ | {"PYTHONPATH": str(ROOT / "runner")}
    result = subprocess.run(
        command, env=environ, capture_output=True, text=True, timeout=60, check=True
    )
    return result.stdout


def test_bound_process_sees_its_cpu_and_its_wider_parent() -> None:
    some = min(os.sched_getaffinity(0))
    code = (
        "import os, json; from dask_runner.snapshot import Snapshot, take;"
        "from dask_runner.resources import cpus;"
        "s = take(os.environ); print(json.dumps([s.cpus, cpus(s, 1).value]))"
    )
    assert json.loads(python(code, "taskset", "-c", str(some))) == [[some], 1]


def test_looking_at_the_machine_imports_no_dask_and_no_numpy() -> None:
    code = (
        "import sys, os; from dask_runner import resources, scratch, shares, snapshot;"
        "resources.rank_share(snapshot.take(os.environ), 1);"
        "print(sorted({'dask', 'distributed', 'numpy', 'click'} & set(sys.modules)))"
    )
    assert ast.literal_eval(python(code)) == []


def test_snapshot_of_this_machine_is_what_the_system_says() -> None:
    snapshot = take(os.environ)
    assert set(snapshot.cpus) == os.sched_getaffinity(0)
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert snapshot.memory == pytest.approx(pages, rel=0.05)
    assert rank_share(snapshot, 1).memory.value <= snapshot.memory
