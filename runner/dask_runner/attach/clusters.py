"""What there is of the user's clusters: their hubs are asked, all at once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_runner.errors import RunnerError
from dask_runner.hub.ask import QUICK_SECONDS, SilentError, ask
from dask_runner.hub.requests import AskState, State
from dask_runner.meeting import cluster_directory

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_runner.meeting.cluster_directory import Entry


@dataclass(frozen=True, slots=True)
class Look:
    """What was found of one cluster.

    Attributes
    ----------
    entry : Entry
    state : State or None
        The hub's answer; None if there is none.
    trouble : str
        Why there is none.
    silent_for : float
        Seconds since its last sign of life, if it does not answer.
    """

    entry: Entry
    state: State | None = None
    trouble: str = ""
    silent_for: float = 0.0


async def look(environ: Mapping[str, str]) -> list[Look]:
    """Ask all clusters of the cluster directory at once.

    A file is removed if its hub does not answer, and has not refreshed the file for so
    long that the cluster must have been killed.

    Raises
    ------
    ConfigError
        If the directory cannot be read.
    """
    entries = cluster_directory.entries(environ)
    looks = await asyncio.gather(*map(_look_at, entries))
    return [found for found in looks if found is not None]


async def _look_at(entry: Entry) -> Look | None:
    named = entry.found
    if named is None:
        return Look(entry, trouble=f"{entry.path} {entry.trouble}")
    try:
        state = await ask(named.record, AskState(), State, QUICK_SECONDS)
    except SilentError as why:
        age = cluster_directory.age(entry.path)
        if cluster_directory.is_stale(age):
            cluster_directory.remove(entry.path, named.record.nonce)
            return None
        return Look(entry, trouble=f"no answer: {why}", silent_for=age)
    except RunnerError as error:
        return Look(entry, trouble=error.saw)
    return Look(entry, state)
