"""Several ways to meet, and which one is taken."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from dask_runner.errors import ConfigError
from dask_runner.meeting.base import Meeting, UnusableError
from dask_runner.meeting.by_file import FileMeeting
from dask_runner.meeting.first_usable import FirstUsable
from tests.unit.records import KEY, RECORD, nothing_left

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from dask_runner.meeting.record import Record


class Closed(Meeting):
    """A way that no rank can go."""

    trouble = ""

    def __init__(self, reason: str) -> None:
        self.trouble = reason
        self.settled = False

    async def publish(self, _: Record) -> None:
        raise UnusableError(self.trouble)

    async def records(self) -> AsyncIterator[Record]:
        raise UnusableError(self.trouble)
        yield

    async def finished(self) -> None:
        self.settled = True

    def adopt(self, _: str) -> None:
        raise AssertionError

    def withdraw(self) -> None:
        raise AssertionError


def test_the_first_way_that_is_open_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    closed = [Closed("no PMI"), Closed("no MPI")]
    ways = [FirstUsable([*closed, FileMeeting([path], KEY)], "hydra") for _ in range(2)]

    async def play() -> Record:
        await ways[0].publish(RECORD)
        found = await anext(ways[1].records())
        await ways[1].finished()
        return found

    assert asyncio.run(play()) == RECORD
    assert all(way.settled for way in closed)
    assert str(path) in ways[1].trouble
    assert ways[1].trouble.endswith("; no PMI; no MPI")
    ways[0].withdraw()
    assert nothing_left(tmp_path)


def test_no_way_that_is_open_is_an_error_with_the_reason_of_each() -> None:
    for rank in range(2):
        ways = FirstUsable([Closed("no PMI"), Closed("no MPI")], "hydra")
        with pytest.raises(ConfigError) as caught:
            asyncio.run(ways.publish(RECORD) if rank == 0 else _first(ways))
        assert caught.value.saw == "hydra started this, and no PMI; no MPI"
        assert "--scheduler-file" in caught.value.do


async def _first(ways: FirstUsable) -> None:
    await anext(ways.records())
