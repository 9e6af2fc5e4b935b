"""What is told of tasks that wait for a worker which is not there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from distributed.metrics import monotonic

from dask_runner.programs.unplaced import MOST_LINES, PATIENCE_SECONDS, Unplaced


def task(**asks: Any) -> Any:
    nothing = dict.fromkeys(
        ("worker_restrictions", "host_restrictions", "resource_restrictions")
    )
    one = SimpleNamespace(key="sum-1", **{**nothing, **asks})
    return SimpleNamespace(unrunnable=Waiting([(one, monotonic() - PATIENCE_SECONDS)]))


class Waiting(list[Any]):
    """Tasks that cannot be keys of a dict, as Dask's can."""

    def items(self) -> list[Any]:
        return self


@pytest.mark.parametrize(
    ("asks", "words"),
    [
        ({"worker_restrictions": {"7"}}, "sum-1 waits for worker 7,"),
        ({"host_restrictions": {"c9"}}, "sum-1 waits for worker c9,"),
        ({"resource_restrictions": {"GPU": 1.0}}, "waits for resources GPU=1,"),
        ({"worker_restrictions": {"a\x1b"}}, "worker a\\x1b,"),
    ],
)
def test_what_a_task_waits_for_is_told_once(asks: dict[str, Any], words: str) -> None:
    unplaced = Unplaced(task(**asks))
    assert words in unplaced.news()
    assert unplaced.news() == ""


def test_a_task_that_asks_for_nothing_or_has_just_come_is_not_told() -> None:
    assert Unplaced(task()).news() == ""
    new = task(worker_restrictions={"7"})
    new.unrunnable = Waiting([(new.unrunnable[0][0], monotonic())])
    assert Unplaced(new).news() == ""
    new.unrunnable = Waiting()
    assert Unplaced(new).news() == ""


def test_the_next_task_is_told_after_the_first() -> None:
    scheduler = task(worker_restrictions={"7"})
    scheduler.unrunnable += task(resource_restrictions={"GPU": 1}).unrunnable
    unplaced = Unplaced(scheduler)
    assert "worker 7" in unplaced.news()
    assert "GPU=1" in unplaced.news()


def test_many_names_are_few_lines() -> None:
    scheduler = task()
    unplaced = Unplaced(scheduler)
    said = []
    for name in range(2 * MOST_LINES):
        scheduler.unrunnable = task(worker_restrictions={str(name)}).unrunnable
        said.append(unplaced.news())
    assert len(list(filter(None, said))) == MOST_LINES
