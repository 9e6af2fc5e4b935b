"""Find the hub by its record, or the reason why it cannot be found."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_runner.errors import AssemblyError, RunnerError
from dask_runner.hub import messages as m
from dask_runner.resources.cpusets import in_list_format
from dask_runner.resources.rank_share import knows_its_cpus
from dask_runner.wire import mutual_tls

if TYPE_CHECKING:
    from dask_runner.launch.world import World
    from dask_runner.meeting.base import Meeting
    from dask_runner.meeting.record import Record
    from dask_runner.resources.machine import Snapshot
    from dask_runner.wire.channel import Channel

#: Seconds for the first attempt to reach a hub, and for the longest. A hub to which
#: thousands of ranks connect at once is slow, and slower still if all of them retry.
FIRST_ATTEMPT_SECONDS = 5.0
LONGEST_ATTEMPT_SECONDS = 20.0
#: Rank 0's attempts to reach its own hub, and the seconds between them.
TRIES = 20
RETRY_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Linked:
    """The rank has reached the hub."""

    record: Record
    channel: Channel


@dataclass(frozen=True, slots=True)
class Broken:
    """The meeting failed."""

    error: RunnerError


def hello(world: World, snapshot: Snapshot, mpi: str) -> m.Hello:
    """Return a rank's first message: its number, and the CPUs that it may use."""
    local_size = world.local_size or 0
    return m.Hello(
        world.rank,
        world.local_rank or 0,
        local_size,
        in_list_format(snapshot.cpus),
        bool(local_size) and not knows_its_cpus(snapshot, local_size),
        mpi,
    )


async def reach(record: Record) -> Linked | Broken:
    """Connect rank 0 to its own hub."""
    for _ in range(TRIES):
        try:
            return Linked(
                record, await mutual_tls.connect(record, FIRST_ATTEMPT_SECONDS)
            )
        except (OSError, TimeoutError, mutual_tls.StrangerError):
            # The hub listens, but a flood of strangers keeps it busy.
            await asyncio.sleep(RETRY_SECONDS)
    return Broken(
        AssemblyError(
            f"rank 0 cannot reach its own hub at {record.host}:{record.port}",
            "a network on which this node can connect to itself",
            "name another network with --interface",
        )
    )


async def find(
    rank: int, node: str, meeting: Meeting, seconds: float
) -> Linked | Broken:
    """Look for rank 0's record until its hub answers, for *seconds* at most."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(seconds):
            return await _first_that_answers(meeting)
    except TimeoutError:
        return Broken(meeting.waited(rank, node, began))
    except RunnerError as error:
        return Broken(error)


async def _first_that_answers(meeting: Meeting) -> Linked:
    patience = FIRST_ATTEMPT_SECONDS
    records = meeting.records()
    while True:
        record = await anext(records)
        try:
            return Linked(record, await mutual_tls.connect(record, patience))
        except TimeoutError:
            patience = min(2 * patience, LONGEST_ATTEMPT_SECONDS)
        except (OSError, mutual_tls.StrangerError):
            continue  # a stale record, which the meeting names if time runs out
