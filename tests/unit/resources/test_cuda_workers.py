"""dask-cuda's class, which starts a worker on each GPU by itself."""

from __future__ import annotations

from typing import Any

import pytest

from dask_runner.errors import ConfigError
from dask_runner.launch.settings import Settings, settle
from dask_runner.resources.cuda_workers import CUDA_WORKERS, cuda_worker, is_fleet
from dask_runner.resources.rank_share import RankShare, rank_share
from tests.unit.machines import given


def settings(**more: Any) -> Settings:
    return settle({"worker_class": CUDA_WORKERS[0], **more}, {})


def share(cards: str = "") -> RankShare:
    found = rank_share(given(**({"CUDA_VISIBLE_DEVICES": cards} if cards else {})), 1)
    assert ",".join(found.gpus.value.own) == cards
    return found


@pytest.mark.parametrize("name", CUDA_WORKERS)
def test_its_names_are_known(name: str) -> None:
    assert is_fleet(settle({"worker_class": name}, {}))


def test_other_classes_start_one_worker_each() -> None:
    assert not is_fleet(settle({}, {}))
    assert not is_fleet(settle({"worker_class": "mine.CUDAWorker"}, {}))


def test_a_rank_without_a_gpu_is_told_where_they_come_from() -> None:
    with pytest.raises(ConfigError) as caught:
        cuda_worker(share(), [], settings(), 3)

    assert "no variable names a GPU" in caught.value.saw
    assert "CUDA_VISIBLE_DEVICES" in caught.value.needed
    assert "--gpus-per-task" in caught.value.do


def test_another_number_of_workers_than_gpus_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        cuda_worker(share("4,5"), [], settings(nworkers=3), 3)

    assert "--nworkers 3" in caught.value.saw
    assert "2 GPUs a rank" in caught.value.saw
