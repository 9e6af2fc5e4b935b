"""What a process and the desk say to each other (:mod:`dask_runner.node.desk`).

::

    process → desk   Come
    desk → process   Waiting, again and again; then Seat, or TurnedAway
    desk → process   TheRecord, when rank 0 has its hub; or TurnedAway
    process → desk   Fails, if it cannot go on; or instead of Come, if it cannot begin

The connection stays open. Its end tells each side that the other has ended.
"""

from __future__ import annotations

from dataclasses import dataclass

from dask_runner.wire.message import Message


@dataclass(frozen=True)
class Come(Message):
    """A process asks for its place in the launch.

    Attributes
    ----------
    size : int
        The number of ranks, as it knows it.
    node : str
        The name of its host.
    place : str
        What processes have in common that can form a node.
    rank : int
        Its number where its launcher has given it one; otherwise -1.
    """

    size: int
    node: str
    place: str
    rank: int = -1


@dataclass(frozen=True)
class Waiting(Message):
    """So many have come until now."""

    came: int


@dataclass(frozen=True)
class Seat(Message):
    """The place of a process in the launch; *local_size* is 0 where it is not known."""

    rank: int
    local_rank: int
    local_size: int
    key: str


@dataclass(frozen=True)
class TheRecord(Message):
    """The record of the hub."""

    text: str


@dataclass(frozen=True)
class TurnedAway(Message):
    """The process cannot be part of the launch, or the launch is over.

    Attributes
    ----------
    saw, needed, do : str
        The three parts of the error.
    status : int
    said : bool
        Whether another process prints it.
    """

    saw: str
    needed: str
    do: str
    status: int
    said: bool


@dataclass(frozen=True)
class Fails(Message):
    """The process cannot join.

    Attributes
    ----------
    saw, needed, do : str
        The three parts of its error.
    status : int
    node : str
        The name of its host, where it could not begin.
    rank : int
        Its number where its launcher has given it one; otherwise -1.
    """

    saw: str
    needed: str
    do: str
    status: int
    node: str = ""
    rank: int = -1
