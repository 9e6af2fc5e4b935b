from dataclasses import replace

import pytest

from dask_runner.resources.gpus import gpus
from dask_runner.resources.machine import Snapshot
from dask_runner.resources.rank_share import rank_share
from dask_runner.resources.worker_share import worker_shares
from tests.unit.machines import NODE


def given(**environ: str) -> Snapshot:
    return replace(NODE, environ=environ)


def seen(snapshot: Snapshot, local_size: int) -> list[str]:
    """List the first GPU of every worker on the node."""
    return [
        worker.gpus[0]
        for rank in range(local_size)
        for worker in worker_shares(rank_share(snapshot, local_size, rank)).value
    ]


def test_machine_without_device_variables_has_no_gpu_workers() -> None:
    assert gpus(NODE, 1).value.own == ()
    assert worker_shares(rank_share(NODE, 1)).value[0].environ == {}


def test_one_rank_has_one_worker_a_gpu_and_each_sees_its_own_first() -> None:
    share = rank_share(given(CUDA_VISIBLE_DEVICES="4,5,6,7"), 1)
    workers = worker_shares(share).value
    assert [worker.environ for worker in workers] == [
        {"CUDA_VISIBLE_DEVICES": "4,5,6,7"},
        {"CUDA_VISIBLE_DEVICES": "5,6,7,4"},
        {"CUDA_VISIBLE_DEVICES": "6,7,4,5"},
        {"CUDA_VISIBLE_DEVICES": "7,4,5,6"},
    ]
    assert [worker.nthreads for worker in workers] == [16] * 4


@pytest.mark.parametrize("local_size", [1, 2, 3, 4])
def test_ranks_that_see_all_gpus_divide_them_and_never_multiply(
    local_size: int,
) -> None:
    snapshot = given(CUDA_VISIBLE_DEVICES="0,1,2,3", SLURM_GPUS_ON_NODE="4")
    assert sorted(seen(snapshot, local_size)) == ["0", "1", "2", "3"]


def test_more_ranks_than_gpus_share_them_evenly_and_say_so() -> None:
    snapshot = given(ROCR_VISIBLE_DEVICES="0,1")
    assert seen(snapshot, 4) == ["0", "0", "1", "1"]
    assert gpus(snapshot, 4).warnings == ("4 ranks share 2 GPUs",)


@pytest.mark.parametrize(
    "environ",
    [
        {"SLURM_GPUS_ON_NODE": "8"},
        {"SLURM_JOB_GPUS": "0,1,2,3,4,5,6,7"},
        {"SLURM_GPUS_PER_TASK": "2"},
    ],
)
def test_gpus_that_slurm_bound_to_the_task_are_not_divided(
    environ: dict[str, str],
) -> None:
    # A device cgroup numbers every task's GPUs from 0.
    snapshot = given(CUDA_VISIBLE_DEVICES="0,1", **environ)
    assert gpus(snapshot, 4, 3).value.own == ("0", "1")


def test_step_gpus_are_used_where_no_device_variable_is_set() -> None:
    found = gpus(given(SLURM_STEP_GPUS="2,3"), 1)
    assert found.value.own == ("2", "3")
    assert found.value.variables == ("CUDA_VISIBLE_DEVICES",)


@pytest.mark.parametrize(
    ("names", "environs"),
    [
        (["CUDA"], [{"CUDA": "0,1,2"}, {"CUDA": "1,2,0"}, {"CUDA": "2,0,1"}]),
        (["ROCR"], [{"ROCR": "0,1,2"}, {"ROCR": "1,2,0"}, {"ROCR": "2,0,1"}]),
        # Level Zero pays no heed to the order.
        (["ZE"], [{"ZE": "0"}, {"ZE": "1"}, {"ZE": "2"}]),
        # HIP applies CUDA's to what ROCR's has left: rotated twice is not rotated.
        (["CUDA", "ROCR"], [{"CUDA": "0,1,2"}, {"CUDA": "1,2,0"}, {"CUDA": "2,0,1"}]),
        # As Slurm sets them where its gres.conf does not name the vendor.
        (
            ["CUDA", "ROCR", "ZE"],
            [
                {"CUDA": "0,1,2", "ZE": "0"},
                {"CUDA": "1,2,0", "ZE": "1"},
                {"CUDA": "2,0,1", "ZE": "2"},
            ],
        ),
    ],
    ids=["NVIDIA", "AMD", "Intel", "AMD for CUDA", "all"],
)
def test_each_worker_sees_its_own_gpu_first_whatever_the_vendor(
    names: list[str], environs: list[dict[str, str]]
) -> None:
    real = {
        "CUDA": "CUDA_VISIBLE_DEVICES",
        "ROCR": "ROCR_VISIBLE_DEVICES",
        "ZE": "ZE_AFFINITY_MASK",
    }
    share = rank_share(given(**{real[name]: "0,1,2" for name in names}), 1)
    assert [worker.environ for worker in worker_shares(share).value] == [
        {real[name]: value for name, value in environ.items()} for environ in environs
    ]


def test_hip_sees_what_was_meant() -> None:
    # CUDA's list holds numbers in the list that ROCR's leaves.
    both = {"CUDA_VISIBLE_DEVICES": "0,1", "ROCR_VISIBLE_DEVICES": "0,1"}
    share = rank_share(given(**both), 1)
    for number, worker in enumerate(worker_shares(share).value):
        seen = {**both, **worker.environ}
        left = seen["ROCR_VISIBLE_DEVICES"].split(",")
        order = [left[int(n)] for n in seen["CUDA_VISIBLE_DEVICES"].split(",")]
        assert order[0] == str(number)


def test_tiles_are_shared_out_among_fewer_workers() -> None:
    share = rank_share(given(ZE_AFFINITY_MASK="0.0,0.1,1.0,1.1"), 1)
    workers = worker_shares(share, 2).value
    assert [worker.environ["ZE_AFFINITY_MASK"] for worker in workers] == [
        "0.0,0.1",
        "1.0,1.1",
    ]


@pytest.mark.parametrize(
    "name",
    [
        "CUDA_VISIBLE_DEVICES",
        "ROCR_VISIBLE_DEVICES",
        "ZE_AFFINITY_MASK",
        "SLURM_STEP_GPUS",
    ],
)
@pytest.mark.parametrize("local_size", [1, 2, 4])
def test_a_node_has_as_many_workers_as_gpus_whoever_lists_them(
    name: str, local_size: int
) -> None:
    snapshot = given(**{name: "0,1,2,3", "SLURM_GPUS_ON_NODE": "4"})
    assert sorted(seen(snapshot, local_size)) == ["0", "1", "2", "3"]


def test_names_of_devices_and_tiles_are_kept() -> None:
    assert gpus(given(CUDA_VISIBLE_DEVICES="GPU-a1,MIG-b2"), 1).value.own == (
        "GPU-a1",
        "MIG-b2",
    )
    assert gpus(given(ZE_AFFINITY_MASK="0.0,0.1"), 1).value.own == ("0.0", "0.1")


@pytest.mark.parametrize("text", ["", "-1", "10000", "NoDevFiles", "none", ",", " "])
def test_variable_that_hides_all_gpus_means_none(text: str) -> None:
    assert gpus(given(CUDA_VISIBLE_DEVICES=text), 1).value.own == ()


def test_hidden_gpus_stay_hidden_though_slurm_lists_them() -> None:
    snapshot = given(CUDA_VISIBLE_DEVICES="", SLURM_STEP_GPUS="0,1")
    assert gpus(snapshot, 1).value.own == ()


def test_list_ends_at_the_first_device_that_cannot_be() -> None:
    assert gpus(given(CUDA_VISIBLE_DEVICES="0,1,-1,2"), 1).value.own == ("0", "1")
    assert gpus(given(CUDA_VISIBLE_DEVICES="0,0,1"), 1).value.own == ("0", "1")


@pytest.mark.parametrize(
    ("nworkers", "first"),
    [(2, ["0", "2"]), (8, ["0", "0", "1", "1", "2", "2", "3", "3"])],
)
def test_asked_number_of_workers_spreads_over_the_gpus(
    nworkers: int | str, first: list[str]
) -> None:
    share = rank_share(given(CUDA_VISIBLE_DEVICES="0,1,2,3"), 1)
    workers = worker_shares(share, nworkers).value
    assert [worker.gpus[0] for worker in workers] == first
