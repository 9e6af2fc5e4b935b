import logging
from dataclasses import replace
from typing import Any

import pytest
from distributed.deploy.utils import nprocesses_nthreads
from distributed.worker_memory import parse_memory_limit

from dask_runner.errors import ConfigError
from dask_runner.resources.rank_share import RankShare, rank_share
from dask_runner.resources.worker_share import worker_shares
from tests.unit.machines import GIB, MIB, NODE

SHARE = rank_share(NODE, 1)


def share_of(count: int, size: int = 64 * GIB) -> RankShare:
    return rank_share(replace(NODE, cpus=tuple(range(count)), memory=size), 1)


def test_one_worker_has_all_threads_and_leaves_some_memory_to_its_nanny() -> None:
    (worker,) = worker_shares(SHARE).value
    assert (worker.nthreads, worker.memory_limit) == (64, 64 * GIB - 256 * MIB)


@pytest.mark.parametrize(
    ("mib", "left"), [(300, 50), (600, 96), (960, 96), (4000, 200), (8000, 256)]
)
def test_a_small_share_leaves_its_nanny_what_a_node_takes(mib: int, left: int) -> None:
    share = rank_share(replace(NODE, memory=mib * MIB), 1)

    (worker,) = worker_shares(share).value

    assert worker.memory_limit == (mib - left) * MIB


@pytest.mark.parametrize("count", range(1, 257))
def test_auto_follows_dask_workers_rule(count: int) -> None:
    workers = worker_shares(share_of(count), "auto").value
    assert (len(workers), workers[0].nthreads) == nprocesses_nthreads(count)


def test_auto_with_threads_fits_as_many_workers_as_there_are_cpus() -> None:
    workers = worker_shares(SHARE, "auto", nthreads=5).value
    assert (len(workers), workers[0].nthreads) == (12, 5)
    assert len(worker_shares(SHARE, "auto", nthreads=100).value) == 1


@pytest.mark.parametrize(
    ("nworkers", "count"), [(1, 1), ("6", 6), (-1, 64), (-64, 1), (100, 100)]
)
def test_number_of_workers_is_taken_as_dask_worker_takes_it(
    nworkers: int | str, count: int
) -> None:
    workers = worker_shares(SHARE, nworkers).value
    assert len(workers) == count
    assert workers[0].nthreads == max(1, 64 // count)


@pytest.mark.parametrize("limit", [None, 0, "0", "4 GiB", "100MB", 2e9, "2e9", 10**9])
def test_limits_below_the_share_are_what_dask_worker_makes_of_them(
    limit: float | str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distributed.system.MEMORY_LIMIT", 64 * GIB)
    (worker,) = worker_shares(SHARE, 1, memory_limit=limit).value
    logger = logging.getLogger("test")
    assert worker.memory_limit == parse_memory_limit(limit, 1, 1, logger=logger)


@pytest.mark.parametrize("limit", [0.25, "0.25"])
def test_fraction_is_of_the_ranks_share(limit: float | str | None) -> None:
    workers = worker_shares(SHARE, 2, memory_limit=limit).value
    assert {worker.memory_limit for worker in workers} == {16 * GIB}


@pytest.mark.parametrize("limit", ["1 TiB", 1, "0.9", 40 * GIB])
def test_workers_never_get_more_together_than_the_rank_has(
    limit: float | str | None,
) -> None:
    found = worker_shares(SHARE, 2, memory_limit=limit)
    assert {worker.memory_limit for worker in found.value} == {32 * GIB}
    assert "more than this rank has (64.0 GiB)" in found.warnings[0]


@pytest.mark.parametrize("count", [1, 3, 7, 1000])
@pytest.mark.parametrize("limit", ["auto", "3 GiB", 1.0])
@pytest.mark.parametrize("size", [10_000, 12_345_678_901])
def test_limits_sum_up_to_no_more_than_the_share(
    count: int, limit: float | str | None, size: int
) -> None:
    workers = worker_shares(share_of(4, size), count, memory_limit=limit).value
    assert sum(worker.memory_limit for worker in workers) <= size
    assert all(worker.memory_limit > 0 for worker in workers)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("nworkers", value) for value in (0, -65, "many", "", 1.5, "1.5")),
        *(("nthreads", value) for value in (-1, "x", 2.5)),
        *(
            ("memory_limit", value)
            for value in ("lots", "", -1, "-1 GiB", float("nan"), "1e999", [])
        ),
    ],
)
def test_absurd_options_name_themselves_and_what_would_be_right(
    name: str, value: Any
) -> None:
    with pytest.raises(ConfigError) as caught:
        worker_shares(SHARE, **{name: value})
    assert caught.value.saw == f"{name} is {value!r}"
    assert caught.value.needed
    assert "--" + name.replace("_", "-") in caught.value.do
