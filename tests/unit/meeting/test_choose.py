"""The other ways to meet, and which one is taken."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from dask_runner.errors import ConfigError
from dask_runner.meeting.by_file import FileMeeting, node_meeting
from dask_runner.meeting.choose import FirstUsable
from dask_runner.meeting.record import (
    NoMeeting,
    Record,
    RelayMeeting,
    UnusableError,
    waited,
    with_address,
)
from tests.unit.records import KEY, RECORD, nothing_left, world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def test_a_relay_carries_the_record_once_and_offers_it_again_and_again() -> None:
    handed: list[str | None] = []

    async def hand_over(text: str | None) -> str:
        handed.append(text)
        return RECORD.dump()

    async def play() -> list[Record]:
        rank0, rank1 = RelayMeeting(hand_over), RelayMeeting(hand_over)
        await rank0.publish(RECORD)
        await rank0.publish(with_address(RECORD, "tcp://127.0.0.1:1"))
        records = rank1.records()
        async with asyncio.timeout(5):
            return [await anext(records) for _ in range(3)]

    assert asyncio.run(play()) == [RECORD] * 3
    assert handed == [RECORD.dump(), None]


def test_a_relay_that_brings_garbage_is_an_error_with_a_way_out() -> None:
    async def hand_over(text: str | None) -> str:
        return text or "garbage"

    async def play() -> None:
        await anext(RelayMeeting(hand_over).records())

    with pytest.raises(ConfigError, match="handed over"):
        asyncio.run(play())


class Closed:
    """A way that no rank can go."""

    files = ()

    def __init__(self, reason: str) -> None:
        self.trouble = reason
        self.settled = False

    async def publish(self, _: Record) -> None:
        raise UnusableError(self.trouble)

    async def records(self) -> AsyncIterator[Record]:
        raise UnusableError(self.trouble)
        yield

    async def settle(self) -> None:
        self.settled = True

    def adopt(self, _: Record) -> None:
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
        await ways[1].settle()
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


def test_ranks_of_one_node_may_also_meet_among_the_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    (tmp_path / "tmp").mkdir()
    monkeypatch.chdir("/proc")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    meetings = [node_meeting(world(), {"HOME": str(file)}) for _ in range(2)]

    async def play() -> Record:
        await meetings[0].publish(RECORD)
        return await anext(meetings[1].records())

    assert asyncio.run(play()) == RECORD
    meetings[0].withdraw()
    assert nothing_left(tmp_path / "tmp")


def test_one_rank_meets_nobody() -> None:
    async def play() -> list[Record]:
        meeting = NoMeeting()
        await meeting.publish(RECORD)
        meeting.withdraw()
        return [record async for record in meeting.records()]

    assert asyncio.run(play()) == []


def test_who_waited_says_for_whom_for_how_long_and_what_it_saw(tmp_path: Path) -> None:
    meeting = FileMeeting([tmp_path / "r.json"], KEY)
    error = waited(5, "c2", time.monotonic() - 60, meeting)
    assert error.status == 75
    assert error.saw.startswith("rank 5 on c2 waited 60 s for rank 0: ")
    assert str(tmp_path / "r.json") in error.saw
    assert error.needed
    assert error.do
