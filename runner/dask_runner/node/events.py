"""What happens to a rank: an event is where it comes from, and what it is."""

from __future__ import annotations

from enum import StrEnum
from typing import Any


class Source(StrEnum):
    """Where an event comes from.

    Of processes, it is also the name of their module in :mod:`dask_runner.programs`,
    and of their logs.
    """

    # The hub, over the rank's connection; the meeting with it; the end without it.
    link = "link"
    meeting = "meeting"
    parting = "parting"
    # Processes of the rank, and the user's, where that has the client.
    agent = "agent"
    scheduler = "scheduler"
    client = "client"
    broadcast = "broadcast"
    above = "above"
    # The process that the launcher started, and the other ranks of the node.
    launched = "launched"
    leader = "leader"
    node = "node"
    # A task of this process that has failed.
    task = "task"


Event = tuple[Source, Any]
