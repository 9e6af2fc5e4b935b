"""When a worker looks for memory that it can give back."""

from __future__ import annotations

import pytest

from dask_runner.programs.unused_memory import CHANGE, IDLE, Looked, is_due

GIB = 1 << 30


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
