"""Fake ranks on loopback, many of them in one process (:mod:`ci.simulation.hub`)."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask_runner.hub import messages as m
from dask_runner.hub.pings import PING_SECONDS
from dask_runner.meeting.by_file import FileMeeting
from dask_runner.node import find_hub

if TYPE_CHECKING:
    from dask_runner.meeting.record import Record
    from dask_runner.wire.channel import Channel

KEY = "simulation"
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
            group.create_task(_node(members, Path(directory)))


async def _node(members: range, place: Path) -> None:
    node = f"node{members[0]}"
    meeting = CountedMeeting([place / "record.json"], KEY)
    found = await find_hub.find(members[0], node, meeting, DEADLINE)
    if isinstance(found, find_hub.Broken):
        raise found.error
    hellos = [
        m.Hello(
            rank,
            local_rank=number,
            local_size=len(members),
            cpus="0-127",
        )
        for number, rank in enumerate(members)
    ]
    found.channel.send(m.NodeHello(node), *hellos)
    await _live(members, found.channel, place)


async def _live(members: range, channel: Channel, place: Path) -> None:
    if 0 in members:
        channel.send(m.OfRank(0, m.SchedulerUp("tcp://127.0.0.1:1")))
    beating = asyncio.create_task(_beat(channel))
    waiting = None
    try:
        while (message := await channel.receive()) is not None:
            match message:
                case m.Starts():
                    # Each rank's, as real ones would be, and not all in one.
                    for rank in message.starting:
                        up = m.WorkersUp([str(rank)], 1, 0)
                        channel.send(m.OfRank(rank, up))
                case m.OfRank(0, m.Ready()):
                    (place / "ready").touch()
                    waiting = asyncio.create_task(_end_when_told(channel, place))
                case m.Close():
                    channel.send(m.Bye())
                case m.Finish():
                    break
    finally:
        beating.cancel()
        if waiting is not None:
            waiting.cancel()
        await channel.closed()


async def _beat(channel: Channel) -> None:
    while True:
        await asyncio.sleep(PING_SECONDS)
        channel.send(m.Ping())


async def _end_when_told(channel: Channel, place: Path) -> None:
    while not (place / "end").exists():  # noqa: ASYNC110  as above
        await asyncio.sleep(0.01)
    (place / "ended").touch()
    channel.send(m.OfRank(0, m.ClientEnded(0, "")))
