"""What freed memory a worker keeps, and when it looks for what it can give back."""

from __future__ import annotations

from dataclasses import astuple

import pytest

from dask_runner.programs.unused_memory import (
    CHANGE,
    IDLE,
    NO_LIMIT,
    Kept,
    Looked,
    is_due,
    is_the_users,
)

MIB, GIB = 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("memory", "limit", "idle", "last", "due"),
    [
        (GIB * 4 // 10, GIB, 0, Looked(), False),
        (GIB * 6 // 10, GIB, 0, Looked(), True),
        (GIB * 100, None, 0, Looked(), False),
        (GIB, None, IDLE, Looked(), True),
        (GIB, None, IDLE, Looked(GIB - CHANGE), False),
        (GIB, GIB, IDLE, Looked(GIB), False),
        (GIB // 2, GIB, IDLE, Looked(GIB), True),
    ],
    ids=[
        "a task runs, and there is enough",
        "a task runs, and memory is short",
        "a task runs without a limit",
        "nothing runs",
        "nothing runs, and little has changed",
        "nothing runs, and what there is is in use",
        "nothing runs, and much has gone",
    ],
)
def test_it_looks_when_memory_is_short_or_nothing_runs(
    memory: int, limit: int | None, idle: float, last: Looked, due: bool
) -> None:
    assert is_due(memory, limit, idle=idle, last=last) is due


@pytest.mark.parametrize(
    ("limit", "threads", "kept"),
    [
        (2 * GIB, 1, Kept(64 * MIB, 32 * MIB, 32 * MIB)),
        (2 * GIB, 13, Kept(16 * MIB, 8 * MIB, 32 * MIB)),
        (160 * MIB, 1, Kept(5 * MIB, 5 * MIB // 2, 5 * MIB // 2)),
        (1000 * GIB, 64, Kept(GIB, 32 * MIB, 32 * MIB)),
        (MIB, 1, Kept(MIB // 32, MIB // 64, MIB // 8)),
    ],
)
def test_a_worker_keeps_no_more_than_a_share_of_its_limit(
    limit: int, threads: int, kept: Kept
) -> None:
    assert Kept.under(limit, threads) == kept


def test_a_worker_without_a_limit_keeps_a_little() -> None:
    assert Kept.under(None, 2) == Kept.under(NO_LIMIT, 2)


def test_mallopt_takes_each_of_them_as_an_int() -> None:
    assert all(value < 1 << 31 for value in astuple(Kept.under(1 << 50, 1)))


@pytest.mark.parametrize(
    ("environ", "theirs"),
    [
        ({}, False),
        ({"MALLOC_ARENA_MAX": "2", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}, False),
        ({"MALLOC_TRIM_THRESHOLD_": "65536"}, True),
        ({"GLIBC_TUNABLES": "glibc.cpu.x=0:glibc.malloc.top_pad=1"}, True),
    ],
)
def test_what_the_user_has_told_the_c_library_stays(
    environ: dict[str, str], theirs: bool
) -> None:
    assert is_the_users(environ) is theirs
