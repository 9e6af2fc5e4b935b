"""The messages within a node: of a rank to its leader, and to its own processes.

None of them reaches the hub.
"""

from __future__ import annotations

from dataclasses import dataclass

from dask_runner.wire.message import Message

# --- a rank and the leader of its node, which does not play for it -----------


@dataclass(frozen=True)
class Leads(Message):
    """The leader is this rank."""

    rank: int


@dataclass(frozen=True)
class Lent(Message):
    """The leader's agent forks the rank's workers: what follows is passed on to it."""


@dataclass(frozen=True)
class Declined(Message):
    """The leader's agent cannot fork the rank's workers; *why* says what differs."""

    why: str


# --- a rank and its own processes ------------------------------------------


@dataclass(frozen=True)
class Found(Message):
    """The rank has found the hub: the variables that the cluster sets for Dask."""

    environ: dict[str, str]


@dataclass(frozen=True)
class Forked(Message):
    """The agent has forked the process with this name."""

    name: str
    pid: int


@dataclass(frozen=True)
class RunningWorker:
    """A worker's process, which may use so many threads and bytes; 0 is no limit."""

    name: str
    pid: int
    nthreads: int
    memory_limit: int


@dataclass(frozen=True)
class WorkersRun(Message):
    """The agent has started the processes of these workers."""

    workers: list[RunningWorker]


@dataclass(frozen=True)
class WorkerHad(Message):
    """A worker had so many bytes when its nanny killed it for that."""

    name: str
    memory: int


@dataclass(frozen=True)
class Resolving(Message):
    """Packages are being resolved: the cache does not have them."""


@dataclass(frozen=True)
class Built(Message):
    """The archive of packages is in the cache.

    There are *number* packages in it. It took *seconds* to make, 0 if it was there.
    """

    path: str
    key: str
    number: int
    seconds: float


@dataclass(frozen=True)
class Unpacked(Message):
    """The archive of packages is unpacked."""


@dataclass(frozen=True)
class Relay(Message):
    """The record, on its way to or from an MPI broadcast."""

    record: str


@dataclass(frozen=True)
class Placed(Message):
    """The process has its number in a launch that hands them out."""

    rank: int
