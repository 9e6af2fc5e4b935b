"""``dask-runner stop``: end a cluster, and wait for the end."""

from __future__ import annotations

import asyncio
import getpass
import socket
from typing import TYPE_CHECKING

from dask_runner.errors import AssemblyError
from dask_runner.hub.ask import SilentError, answer, asking, silent
from dask_runner.hub.requests import AskStop, Stopping
from dask_runner.meeting import cluster_directory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_runner.meeting.record import Record


def stop(name: str | None, timeout: float, environ: Mapping[str, str]) -> str:
    """End a cluster, and wait until its ranks have left; return what to say.

    Parameters
    ----------
    name : str or None
        None for the one cluster that the user has.
    timeout : float
        Seconds to wait for the end.
    environ : mapping

    Raises
    ------
    ConfigError
        If there are several clusters, or the record cannot be believed.
    UnavailableError
        If there is no such cluster, or it does not answer.
    AssemblyError
        If it has not ended in time.
    """
    entry, named = cluster_directory.choose(name, environ)
    try:
        asyncio.run(_stop(named.record, timeout))
    except SilentError as why:
        age = cluster_directory.age(entry.path)
        raise silent(entry.name, named.record, age, why) from why
    except TimeoutError as error:
        raise AssemblyError(
            f"the cluster {entry.name!r} has been told to end, and has not within "
            f"{timeout:g} s",
            "the end of all its ranks",
            "see whether it is still there with dask-runner list; give more --timeout",
        ) from error
    return f"the cluster {entry.name!r} has ended"


async def _stop(record: Record, patience: float) -> None:
    async with asking(record, AskStop(_asker())) as channel:
        await answer(channel, Stopping)
        async with asyncio.timeout(patience):
            # The hub closes it when all ranks have left.
            await channel.receive()


def _asker() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # no entry in the user database, and no variable
        user = "its owner"
    return f"{user} on {socket.gethostname()}"
