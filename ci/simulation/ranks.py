"""Fake ranks on loopback, many of them in one process (:mod:`ci.simulation.hub`)."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask_runner.hub import messages as m
from dask_runner.hub.server import PING
from dask_runner.meeting.by_file import FileMeeting
from dask_runner.meeting.record import RelayMeeting
from dask_runner.node import find_hub

if TYPE_CHECKING:
    from dask_runner.hub.channel import Channel
    from dask_runner.meeting.record import Record

KEY = "simulation"
#: Ranks of a process that shake hands at a time: thousands of real ones answer the
#: hub at once, but one process for them all would keep it waiting.
AT_ONCE = asyncio.Semaphore(500)
#: Seconds for one size.
DEADLINE = 600.0


class CountedMeeting(FileMeeting):
    """Counts how often the directory is looked into."""

    looks = 0

    def _read(self, path: Path) -> Record:
        CountedMeeting.looks += 1
        return super()._read(path)


def be_ranks(values: dict[str, Any]) -> None:
    """Play the ranks of some nodes; print how often they looked for the record."""
    asyncio.run(_ranks(**values))
    sys.stdout.write(json.dumps(CountedMeeting.looks))


async def _ranks(
    size: int, per_node: int, directory: str, first: int, end: int
) -> None:
    async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as group:
        for node in range(first // per_node, -(-end // per_node)):
            leads = node * per_node
            members = range(leads, min(leads + per_node, size))
            record: asyncio.Future[Record] = asyncio.Future()
            for rank in members:
                group.create_task(_rank(rank, members, record, Path(directory)))


async def _rank(
    rank: int, members: range, record: asyncio.Future[Record], place: Path
) -> None:
    leads = rank == members[0]
    node = f"node{members[0]}"
    if leads:
        meeting = CountedMeeting([place / "record.json"], KEY)
        found = await find_hub.find(rank, node, meeting, DEADLINE)
    else:
        found = await _follow(rank, node, await record)
    if isinstance(found, find_hub.Broken):
        raise found.error
    if leads:
        record.set_result(found.record)
    channel = found.channel
    channel.send(
        m.Hello(
            rank,
            node,
            local_rank=rank - members[0],
            local_size=len(members),
            home=f"dask-runner-{node}",
            leads=leads,
            cpus="0-127",
        )
    )
    await _live(rank, channel, place)


async def _live(rank: int, channel: Channel, place: Path) -> None:
    if rank == 0:
        channel.send(m.SchedulerUp("tcp://127.0.0.1:1"))
    beating = asyncio.create_task(_beat(channel))
    try:
        while (message := await channel.receive()) is not None:
            match message:
                case m.Start():
                    channel.send(m.WorkersUp([str(rank)], 1, 0))
                case m.Ready():
                    (place / "ready").touch()
                    waiting = asyncio.create_task(_end_when_told(channel, place))
                case m.Close():
                    channel.send(m.Bye())
                case m.Finish():
                    break
    finally:
        beating.cancel()
        if rank == 0:
            waiting.cancel()
        await channel.closed()


async def _follow(
    rank: int, node: str, record: Record
) -> find_hub.Linked | find_hub.Broken:
    async def hand_over(text: str | None) -> str:
        return text or record.dump()

    async with AT_ONCE:
        return await find_hub.find(rank, node, RelayMeeting(hand_over), DEADLINE)


async def _beat(channel: Channel) -> None:
    while True:
        await asyncio.sleep(PING)
        channel.send(m.Ping())


async def _end_when_told(channel: Channel, place: Path) -> None:
    while not (place / "end").exists():  # noqa: ASYNC110  as above
        await asyncio.sleep(0.01)
    (place / "ended").touch()
    channel.send(m.ClientEnded(0, ""))
