"""How much memory a rank has, from captured trees and from variables."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from dask_runner.resources.machine import take
from dask_runner.resources.rank_share import cpus, memory, rank_share
from tests.unit.machines import GIB, MIB, NODE, bound, captured, given, limited

# From captured trees.


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


# From variables.


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


def test_the_memory_of_a_slurm_step_is_that_of_all_its_ranks_on_the_node() -> None:
    step = replace(NODE, step_memory=3 * GIB)
    assert memory(step, 2).value == 3 * GIB // 2
    assert memory(step, 2).source == "memory of the Slurm step, ulimit -m / 2 ranks"
    less = replace(step, environ={"SLURM_MEM_PER_NODE": "1024"})
    assert memory(less, 1).value == GIB
    assert memory(replace(NODE, step_memory=1 << 62), 1).value == 64 * GIB


def test_what_was_given_is_known_beside_what_was_taken() -> None:
    share = rank_share(replace(NODE, step_memory=4 * GIB), 1, hosts_hub=True)
    assert (share.memory.value, share.taken_memory) == (7 * GIB // 2, GIB // 2)
    assert share.given.value == 4 * GIB
    assert share.given.source == "memory of the Slurm step, ulimit -m"
    alone = rank_share(replace(NODE, step_memory=4 * GIB), 1)
    assert alone.given == replace(alone.memory, warnings=())


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


@pytest.mark.parametrize("text", ["0", "-1", "4G", "٣", "nan"])
def test_absurd_memory_limit_is_ignored_with_a_warning(text: str) -> None:
    found = memory(limited("memory", text), 1)
    assert found.value == 64 * GIB
    assert repr(text) in found.warnings[0]


@pytest.mark.parametrize("text", ["max", str(2**63), str(2**63 - 4096), str(2**64)])
def test_unlimited_memory_is_no_limit_and_no_warning(text: str) -> None:
    found = memory(limited("memory", text), 1)
    assert (found.value, found.warnings) == (64 * GIB, ())
