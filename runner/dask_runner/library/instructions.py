"""What a rank's top process is told by the user's process above it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dask_runner.launch.plan import Plan
from dask_runner.launch.world import World
from dask_runner.wire.message import Message


@dataclass(frozen=True)
class RunTop(Message):
    """Play the rank.

    Attributes
    ----------
    world : World
    plan : Plan
    settings : dict
        The options' values, by key.
    relay : bool
        Whether the record goes by the process above.
    scheduler_options, worker_options, worker_name, script, scheduler_address
        As in :class:`~dask_runner.launch.launch.Launch`.
    """

    world: World
    plan: Plan
    settings: dict[str, Any]
    relay: bool
    scheduler_options: dict[str, Any]
    worker_options: dict[str, Any]
    worker_name: str
    script: str
    scheduler_address: str
