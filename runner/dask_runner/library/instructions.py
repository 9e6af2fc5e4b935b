"""What a rank's top process is told by the user's process above it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dask_runner.launch.handed_out import Asked
from dask_runner.launch.plan import Plan
from dask_runner.launch.world import World
from dask_runner.wire.message import Message


@dataclass(frozen=True)
class RunTop(Message):
    """Play the rank.

    Attributes
    ----------
    world : World
        Where ranks are handed out, it is that of any rank.
    plan : Plan
    settings : dict
        The options' values, by key.
    relay : bool
        Whether the record goes by the process above.
    scheduler_options, worker_options, worker_name, script, scheduler_address
        As in :class:`~dask_runner.launch.launch.Launch`.
    asked : Asked or None
        What is known of the launch, where its processes have to meet at a desk.
    counted : bool
        Whether a launcher has counted the ranks all the same.
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
    asked: Asked | None
    counted: bool
