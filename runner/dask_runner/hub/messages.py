"""What our own processes say to each other.

A message travels as JSON. The class name is its name on the wire, the fields
are plain JSON values, and a message with other fields or types is refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, ClassVar


class ProtocolError(Exception):
    """What arrived is not a message of ours."""


@dataclass(frozen=True)
class Message:
    """Base of all messages."""

    kinds: ClassVar[dict[str, type[Message]]] = {}

    def __init_subclass__(cls) -> None:
        Message.kinds[cls.__name__] = cls


# --- a node and the hub -----------------------------------------------------
#
# One connection speaks for all the ranks that a node's leader plays. What concerns
# one of them travels in an OfRank, either way.


@dataclass(frozen=True)
class NodeHello(Message):
    """A node says where it is, before anything else.

    ``home`` names the agent that its ranks may have in common, with those of other
    nodes on the same host as well.
    """

    name: str
    home: str = ""


@dataclass(frozen=True)
class Hello(Message):
    """A rank of the node has come.

    ``local_size`` is 0 where its launcher told it neither that nor its local rank;
    ``leads`` says whether the node's agent is its own. ``cpus`` are those that it may
    use, and ``asks`` says that it has to know the others' to tell its share. ``mpi`` is
    the MPI that its programs would load, empty where none is known.
    """

    rank: int
    local_rank: int = 0
    local_size: int = 0
    leads: bool = False
    cpus: str = ""
    asks: bool = False
    mpi: str = ""


@dataclass(frozen=True)
class Refused(Message):
    """The hub takes no such rank: there is none, or it is here already."""

    rank: int


@dataclass(frozen=True)
class OfRank(Message):
    """What a rank of the node says, or is told."""

    rank: int
    message: Message


@dataclass(frozen=True)
class Gone(Message):
    """A rank of the node is lost, and the others go on."""

    rank: int
    why: str


@dataclass(frozen=True)
class Starts(Message):
    """The scheduler is up, so ranks of the node may start their workers.

    ``starting`` are these ranks. ``here`` are all ranks on the same host, in order,
    with the CPUs that each may use in ``masks``, which is empty if not all are known.
    ``leader`` is the one whose agent they may share, or -1.
    """

    address: str
    starting: list[int]
    here: list[int]
    leader: int = -1
    masks: list[str] = field(default_factory=list)

    def of(self, rank: int) -> Start:
        """Return what this means for one of them."""
        borrows = self.leader not in (-1, rank)
        return Start(
            self.address, self.here.index(rank), len(self.here), borrows, self.masks
        )


# --- a rank to the hub ------------------------------------------------------


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
    """A rank on the node's host will not join: what it did, and its status.

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
    """All ranks of the node have stopped their clients and workers."""


# --- the hub to a rank ------------------------------------------------------


@dataclass(frozen=True)
class Start(Message):
    """The scheduler is up, so workers may start: a rank's part of ``Starts``.

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

    ``rank`` is the one that got it, if it has not joined and its leader says so.
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
class Run(Message):
    """What a process is to do, as plain data (see the process's module)."""

    spec: dict[str, Any]


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
    return json.dumps([type(message).__name__, vars(message)], default=_plain).encode()


def _plain(message: Message) -> list[Any]:
    return [type(message).__name__, vars(message)]


def decode(payload: bytes) -> Message:
    """Read a message.

    Raises
    ------
    ProtocolError
        If it is not JSON, not a known message, or has wrong fields.
    """
    try:
        return _read(json.loads(payload))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ProtocolError(f"not a message: {payload[:60]!r}") from error


def _read(value: Any) -> Message:
    name, values = value
    wanted = _fields(name)
    if values.keys() != wanted.keys():
        raise ProtocolError(f"{name} with other fields: {values!r:.60}")
    for key, kind in wanted.items():
        if kind == "Message":
            values[key] = _read(values[key])
        elif not _is(values[key], kind):
            raise ProtocolError(f"{name} with wrong fields: {values!r:.60}")
    return Message.kinds[name](**values)


@cache
def _fields(name: str) -> dict[str, str]:
    return {one.name: str(one.type) for one in fields(Message.kinds[name])}


def _is(value: object, kind: str) -> bool:
    if isinstance(value, list) and kind in _LISTS:
        return all(type(one) is _LISTS[kind] for one in value)
    return type(value).__name__ == kind.partition("[")[0]


_LISTS = {"list[str]": str, "list[int]": int}
