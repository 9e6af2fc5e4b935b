"""What our own processes say to each other.

A message travels as JSON. The class name is its name on the wire, the fields
are plain JSON values, and a message with other fields or types is refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import ClassVar

from dask_runner.hub.typed_json import read, write


class ProtocolError(Exception):
    """What arrived is not a message of ours."""


@dataclass(frozen=True)
class Message:
    """Base of all messages."""

    kinds: ClassVar[dict[str, type[Message]]] = {}

    def __init_subclass__(cls) -> None:
        Message.kinds[cls.__name__] = cls


# --- a rank to the hub ------------------------------------------------------


@dataclass(frozen=True)
class Hello(Message):
    """A rank says who and where it is.

    ``local_size`` is 0 where its launcher told it neither that nor its local rank;
    ``home`` names the agent that the ranks of its node may have in common, and
    ``leads`` says whether that is its own. ``cpus`` are those that it may use, and
    ``asks`` says that it has to know the others' to tell its share. ``mpi`` is the
    MPI that its programs would load, empty where none is known.
    """

    rank: int
    node: str
    local_rank: int = 0
    local_size: int = 0
    home: str = ""
    leads: bool = False
    cpus: str = ""
    asks: bool = False
    mpi: str = ""


@dataclass(frozen=True)
class SchedulerUp(Message):
    """The scheduler listens at *address*.

    *dashboard* is the path of a Unix socket, or ``http://HOST:PORT``, which *readers*
    can read, in words; empty if there is none.
    """

    address: str
    dashboard: str = ""
    readers: str = ""


@dataclass(frozen=True)
class WorkersUp(Message):
    """A rank's workers are registered; threads and bytes (0: no limit) of all."""

    names: list[str]
    nthreads: int
    memory: int


@dataclass(frozen=True)
class WorkerDied(Message):
    """A worker has died, in words, and its nanny starts it again."""

    name: str
    how: str


@dataclass(frozen=True)
class WorkerDown(Message):
    """A worker is not there, and starts again: the same, of which nobody need hear.

    It has died before it had come to stay, or could not be started. *needed* and *do*
    are as in an error, where they are known.
    """

    name: str
    how: str
    needed: str = ""
    do: str = ""


@dataclass(frozen=True)
class WorkerBack(Message):
    """A worker that had died has come to stay."""

    name: str


@dataclass(frozen=True)
class WorkerLeft(Message):
    """A worker has ended in order, by the script's wish: nobody starts it again."""

    name: str


@dataclass(frozen=True)
class AgentGone(Message):
    """The process that starts a rank's workers has ended; *own*: it was the rank's."""

    how: str
    own: bool


@dataclass(frozen=True)
class ClientEnded(Message):
    """The client has ended with *status*; *said* tells why if it was killed."""

    status: int
    said: str


@dataclass(frozen=True)
class SchedulerClosed(Message):
    """The scheduler ended in order, because a client asked it to."""


@dataclass(frozen=True)
class Failed(Message):
    """A rank cannot go on: the three parts of the error, and its status."""

    saw: str
    needed: str
    do: str
    status: int


@dataclass(frozen=True)
class Absent(Message):
    """Another rank of this node will not join: what it did, and its status.

    It is -1 for the one with the local rank 0 where its number is not known. The other
    parts are those of its error, if it told one.
    """

    rank: int
    saw: str
    needed: str = ""
    do: str = ""
    status: int = 75

    def on(self, node: str) -> str:
        """Say it in words, of that node."""
        which = f"rank {self.rank}" if self.rank >= 0 else "the rank of local rank 0"
        return f"{which} on {node} {self.saw}"


@dataclass(frozen=True)
class Note(Message):
    """A line for the user, which rank 0 prints."""

    text: str


@dataclass(frozen=True)
class Bye(Message):
    """A rank has stopped its client and its workers."""


# --- the hub to a rank ------------------------------------------------------


@dataclass(frozen=True)
class Start(Message):
    """The scheduler is up, so workers may start.

    ``local_rank`` and ``local_size`` are counted by node name; ``borrows`` says that
    the agent of the rank's node is another rank's. ``masks`` are the CPUs that each
    rank of the node may use, in order; empty if not all are known.
    """

    address: str
    local_rank: int
    local_size: int
    borrows: bool = False
    masks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Ready(Message):
    """The cluster is complete, so the client may begin.

    The hub leaves the TLS material empty; a rank adds it for its own client.
    """

    address: str
    dashboard: str
    nworkers: int
    certificate: str = ""
    private_key: str = ""


@dataclass(frozen=True)
class Complete(Message):
    """The cluster is complete: what could wait may begin."""


@dataclass(frozen=True)
class WorkersLost(Message):
    """Workers of a rank that is lost: the scheduler need not wait for them.

    Dask finds out by itself where a connection closes. A node that stands still keeps
    its connections open.
    """

    names: list[str]


@dataclass(frozen=True)
class Close(Message):
    """The cluster ends with *status*: stop client and workers, say bye."""

    status: int


@dataclass(frozen=True)
class Finish(Message):
    """All ranks have said bye: stop the scheduler and leave."""


# --- both ways --------------------------------------------------------------


@dataclass(frozen=True)
class Ping(Message):
    """I am alive."""


@dataclass(frozen=True)
class Signalled(Message):
    """A rank got this signal; or: the client is to get it.

    ``rank`` is the one that got it, if it is another than the one that says so.
    """

    number: int
    rank: int = -1


# --- a rank and the leader of its node, which does not play its part ---------


@dataclass(frozen=True)
class Leads(Message):
    """The leader is this rank."""

    rank: int


# --- a rank and its own processes ------------------------------------------


@dataclass(frozen=True)
class Found(Message):
    """The rank has found the hub; the variables that the cluster sets for Dask.

    In rank 0 also the record, and the files in which it is: if rank 0 is killed, its
    agent removes them.
    """

    environ: dict[str, str]
    record: str = ""
    files: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Forked(Message):
    """The agent has forked the process of that name."""

    name: str
    pid: int


@dataclass(frozen=True)
class Declined(Message):
    """The agent cannot start this rank's workers, because of *why*."""

    why: str


@dataclass(frozen=True)
class Relay(Message):
    """The record, on its way to or from an MPI broadcast."""

    record: str


def encode(message: Message) -> bytes:
    """Write a message as JSON."""
    return write([type(message).__name__, message]).encode()


def decode(payload: bytes) -> Message:
    """Read a message.

    Raises
    ------
    ProtocolError
        If it is not JSON, not a known message, or has wrong fields.
    """
    try:
        name, values = json.loads(payload)
        return read(Message.kinds[name], values)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise ProtocolError(f"not a message: {payload[:60]!r}") from error
