"""Which way to meet is taken."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from dask_runner.meeting.by_file import node_meeting
from tests.unit.records import RECORD, nothing_left, world

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from dask_runner.meeting.record import Record


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
