"""Report the error of a process that cannot start to the ranks that wait for it.

This is for ranks that meet at a desk (:mod:`dask_runner.node.desk`).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from dask_runner.launch.handed_out import any_place
from dask_runner.meeting.by_file import pauses
from dask_runner.node import desk_messages as d
from dask_runner.node.desk import Desk
from dask_runner.node.first_come import ByClaim, by_secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_runner.errors import RunnerError
    from dask_runner.launch.handed_out import Asked
    from dask_runner.launch.settings import Settings
    from dask_runner.node.first_come import FirstCome

#: Seconds for a process that cannot begin to find one that can.
TELL_SECONDS = 5.0
#: Seconds that rank 0 stays for the others where it cannot begin: pods come one by one.
REFUSE_SECONDS = 10.0


async def tell_first(
    error: RunnerError,
    asked: Asked,
    settings: Settings,
    environ: Mapping[str, str],
    rank: int,
) -> bool:
    """Report the error to rank 0; return whether it was received.

    Rank 0 may still be starting, so this tries for some seconds.

    Parameters
    ----------
    error : RunnerError
    asked : Asked
    settings : Settings
    environ : mapping
    rank : int
        This process's number where its launcher has given it one; otherwise -1.

    Raises
    ------
    RunnerError
        If the processes cannot meet.
    """
    way: FirstCome
    if settings.meet:
        # It does not listen there itself.
        way = by_secret(settings, environ, max(rank, 1))
    else:
        world = any_place(asked)
        way = ByClaim(asked.key, "", world, settings, environ)
    node = socket.gethostname()
    parts = error.saw, error.needed, error.do, error.status
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(TELL_SECONDS):
            for pause in pauses():
                found = await way.look()
                channel = None if found is None else await way.reach(found)
                if channel is not None:
                    channel.send(d.Fails(*parts, node, rank))
                    await channel.closed()
                    return True
                await asyncio.sleep(pause)
    return False


async def refuse_others(
    error: RunnerError, asked: Asked, settings: Settings, environ: Mapping[str, str]
) -> None:
    """Answer the other ranks with the error that keeps rank 0 from starting.

    It listens at the address where they meet.

    Parameters
    ----------
    error : RunnerError
    asked : Asked
        Of a launch whose launcher counts the ranks.
    settings : Settings
        With an address to meet at.
    environ : mapping

    Raises
    ------
    RunnerError
        If rank 0 cannot listen there.
    """
    way = by_secret(settings, environ, 0)
    if await way.look() is not None:
        return  # another program has the address
    desk = Desk(asked.size, asked.key, way.own, numbered=True)
    try:
        await way.claim(desk)
        await desk.refuse_all(error, REFUSE_SECONDS)
    finally:
        await desk.shut()
