"""What every way to meet has in common."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from dask_runner.meeting.base import NoMeeting
from dask_runner.meeting.by_file import FileMeeting
from tests.unit.records import KEY, RECORD

if TYPE_CHECKING:
    from pathlib import Path

    from dask_runner.meeting.record import Record


def test_one_rank_meets_nobody() -> None:
    async def play() -> list[Record]:
        meeting = NoMeeting()
        await meeting.publish(RECORD)
        meeting.withdraw()
        return [record async for record in meeting.records()]

    assert asyncio.run(play()) == []


def test_who_waited_says_for_whom_for_how_long_and_what_it_saw(tmp_path: Path) -> None:
    meeting = FileMeeting([tmp_path / "r.json"], KEY)
    error = meeting.waited(5, "c2", time.monotonic() - 60)
    assert error.status == 75
    assert error.saw.startswith("rank 5 on c2 waited 60 s for rank 0: ")
    assert str(tmp_path / "r.json") in error.saw
    assert error.needed
    assert error.do
