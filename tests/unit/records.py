"""A record of a cluster, and a world in which it is looked for."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from dask_runner.hub.requests import State
from dask_runner.launch.world import World
from dask_runner.meeting.by_file import FileMeeting
from dask_runner.meeting.named_record import NamedRecord
from dask_runner.meeting.notice import Notice
from dask_runner.meeting.record import Record

if TYPE_CHECKING:
    from pathlib import Path


KEY = "slurm.4711.0"
RECORD = Record(KEY, "ab" * 16, "c1", "127.0.0.1", 40000, "CERT", "KEY")
NAMED = NamedRecord("lab", "4711", "slurm", 1.8e9, "3.13.5", "2026.8.0", RECORD)
#: What its hub answers.
STATE = State(
    ready=True,
    ending=False,
    serves=True,
    ranks=4,
    workers=4,
    nthreads=8,
    memory=2**30,
    capacity=4,
    least=1,
    spare=0,
    age=7200.0,
    ends_at=0.0,
    address="tls://10.1.0.1:8786",
    dashboard=True,
    clients=2,
    idle=61.0,
)


#: It counts for longer than a test takes.
NOTICE = Notice(
    KEY, 2, "c2", 78, "no scratch", "a directory", "name one", 600.0, said=True
)


def world(**fields: object) -> World:
    common = World("slurm", 1, 4, None, None, "4711", KEY, "file")
    return replace(common, **fields)  # type: ignore[arg-type]


def published(path: Path, record: Record = RECORD) -> FileMeeting:
    meeting = FileMeeting([path], record.key)
    asyncio.run(meeting.publish(record))
    return meeting


def found(*paths: Path, key: str = KEY) -> Record | str:
    """Return the first record to believe; or the trouble, after a few looks."""
    meeting = FileMeeting(paths, key)

    async def look() -> Record | str:
        try:
            async with asyncio.timeout(0.1):
                async for record in meeting.records():
                    return record
        except TimeoutError:
            return meeting.trouble
        raise AssertionError("a meeting looks for ever")

    return asyncio.run(look())


def nothing_left(directory: Path) -> bool:
    return not list(directory.iterdir())
