"""The states of a rank, and its events: each is a source, and what happened there."""

from __future__ import annotations

from enum import StrEnum
from typing import Any


class Source(StrEnum):
    """Where an event comes from.

    For a process, it is also the name of its module in :mod:`dask_runner.programs` and
    of its log.
    """

    # The connection to the hub; the meeting; an end that the hub does not report.
    link = "link"
    meeting = "meeting"
    early_end = "early_end"
    # The rank's processes; above: the user's process with a runner in Python.
    agent = "agent"
    scheduler = "scheduler"
    client = "client"
    carrier = "carrier"
    broadcast = "broadcast"
    packages = "packages"
    above = "above"
    # The process that the launcher started, and the other ranks of the node.
    launched = "launched"
    leader = "leader"
    node = "node"
    # A background task of this process that has failed.
    task = "task"


class RankState(StrEnum):
    """How far a rank has come."""

    #: The hub has not told it what to do.
    early = "early"
    #: It waits for the place of a rank that is lost.
    spare = "spare"
    #: Its workers start, or are there.
    working = "working"
    #: It ends its processes.
    closing = "closing"


Event = tuple[Source, Any]
