"""The messages between a node and the hub.

The module is long because it is the whole protocol, one declaration a message, and
nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dask_runner.wire.message import Message

# --- a node and the hub -----------------------------------------------------
#
# A node has one connection, for all the ranks for which its leader plays. A message
# from or to one of these ranks travels in an OfRank.


@dataclass(frozen=True)
class NodeHello(Message):
    """A node introduces itself: the first message on its connection."""

    name: str


@dataclass(frozen=True)
class Joined(Message):
    """The hub answers ``AskJoin``: the node is one of the join of this name."""

    join: str


@dataclass(frozen=True)
class Dismiss(Message):
    """A rank of a join is to end with its own error, which it *prints* or not.

    Other ranks of its join may have the same error, which one of them prints.
    """

    saw: str
    needed: str
    do: str
    status: int
    prints: bool


@dataclass(frozen=True)
class Told(Message):
    """What the node's ranks were told that has to be alike in all of a launch."""

    choices: dict[str, str]


@dataclass(frozen=True)
class Hello(Message):
    """A rank of the node joins.

    ``local_size`` is 0 if the launcher gave it no local size and rank. ``cpus`` are the
    CPUs that it may use, and ``asks`` is True if it needs the other ranks' CPUs to work
    out its share. ``mpi`` is the MPI that its programs would load, empty if none is
    known.
    """

    rank: int
    local_rank: int = 0
    local_size: int = 0
    cpus: str = ""
    asks: bool = False
    mpi: str = ""


@dataclass(frozen=True)
class Refused(Message):
    """The hub refuses a rank: its number is too high, or it has joined already."""

    rank: int


@dataclass(frozen=True)
class OfRank(Message):
    """A message from or to one rank of the node."""

    rank: int
    message: Message


@dataclass(frozen=True)
class Gone(Message):
    """A rank of the node is lost; the node's other ranks go on."""

    rank: int
    why: str


@dataclass(frozen=True)
class WorkerUsage:
    """What one worker uses: its threads, and its memory in bytes.

    *memory_limit* is 0 for no limit. *peak* is the most that it has had, and 0 if that
    is not known.
    """

    name: str
    nthreads: int
    memory_limit: int
    peak: int


@dataclass(frozen=True)
class Usage(Message):
    """What the node's ranks use, from their beginnings until now.

    Attributes
    ----------
    cpu : float
        Seconds of CPU time.
    memory, peak : int
        Bytes: now, and the most at any look.
    cpus, given : int
        The CPUs and the bytes that the launcher has given to these ranks.
    taken : int
        The bytes of these that are for scheduler and client.
    workers : list of WorkerUsage
        All workers that these ranks have had.
    """

    cpu: float
    memory: int
    peak: int
    cpus: int
    given: int
    taken: int
    workers: list[WorkerUsage]


@dataclass(frozen=True)
class Packages(Message):
    """The cluster has these packages beside the image's; no path if it has none.

    ``path`` is that of an archive on a disk that all nodes share, and ``key`` says what
    it has to be made from.
    """

    path: str
    key: str


@dataclass(frozen=True)
class Starts(Message):
    """The scheduler is up, so ranks of the node may start their workers.

    ``starting`` has these ranks. ``here`` has all ranks on the same host, in order, and
    ``masks`` the CPUs that each of them may use; it is empty if not all are known.
    """

    address: str
    starting: list[int]
    here: list[int]
    masks: list[str] = field(default_factory=list)

    def of(self, rank: int) -> Start:
        """Return the part of one rank."""
        return Start(self.address, self.here.index(rank), len(self.here), self.masks)


# --- a rank to the hub ------------------------------------------------------


@dataclass(frozen=True)
class SchedulerUp(Message):
    """The scheduler listens at *address*.

    *dashboard* is the path of a Unix socket, or ``http://HOST:PORT``; empty if there is
    none. *readers* says in words who can read the port.
    """

    address: str
    dashboard: str = ""
    readers: str = ""


@dataclass(frozen=True)
class Given(Message):
    """The scheduler's rank has so many bytes of its node, as *source* tells.

    Scheduler and client have *taken* of these.
    """

    memory: int
    source: str
    taken: int


@dataclass(frozen=True)
class WorkersUp(Message):
    """A rank's workers are registered, with so many threads and bytes in total.

    A *memory* of 0 means no limit. *again* says whether workers that were retired can
    be started again.
    """

    names: list[str]
    nthreads: int
    memory: int
    again: bool = True


@dataclass(frozen=True)
class WorkerDied(Message):
    """A worker has died (*how*, in words), and its nanny restarts it."""

    name: str
    how: str


@dataclass(frozen=True)
class WorkerDown(Message):
    """A worker is down and will be restarted, which is not printed.

    It has died soon after a restart, or could not be started. *needed* and *do* are as
    in an error, if they are known.
    """

    name: str
    how: str
    needed: str = ""
    do: str = ""


@dataclass(frozen=True)
class WorkerBack(Message):
    """A worker that had died is stable again."""

    name: str


@dataclass(frozen=True)
class WorkerLeft(Message):
    """A worker has been retired: its nanny does not restart it."""

    name: str


@dataclass(frozen=True)
class WorkerUp(Message):
    """A worker that had been retired is registered again."""

    name: str


@dataclass(frozen=True)
class WorkerNotUp(Message):
    """A worker that had been retired could not be started again: the error's parts."""

    name: str
    saw: str
    needed: str
    do: str


@dataclass(frozen=True)
class AgentGone(Message):
    """The agent that started a rank's workers has ended: *how*, in words."""

    how: str


@dataclass(frozen=True)
class ClientEnded(Message):
    """The client has ended with *status*; *said* has the reason if it was killed."""

    status: int
    said: str


@dataclass(frozen=True)
class SchedulerClosed(Message):
    """The scheduler has ended by itself; *why* is the reason in words.

    A client has shut the cluster down, or nobody uses it any more.
    """

    why: str = "the client has shut the cluster down"


@dataclass(frozen=True)
class Activity(Message):
    """What the scheduler does: its clients, and the seconds that it has been idle.

    *idle* is 0 while tasks run.
    """

    clients: int
    idle: float


@dataclass(frozen=True)
class Work(Message):
    """What the scheduler knows of the cluster's work.

    Attributes
    ----------
    done, erred : int
        Tasks that have been computed, and that have failed, since the beginning.
    known : int
        These and the tasks that are still to be computed.
    again : int
        Of the computed ones, those whose results had been lost with a worker.
    broken_off : int
        Tasks that ran on a worker when it was lost.
    computed : float
        Seconds that threads of workers have spent in tasks.
    running : int
        Tasks that run.
    workers, nthreads, memory : int
        The workers that are there, their threads, and the bytes that they use.
    moved, spilled : int
        Bytes that workers have got from each other, and have written to disk.
    """

    done: int
    erred: int
    known: int
    again: int
    broken_off: int
    computed: float
    running: int
    workers: int
    nthreads: int
    memory: int
    moved: int
    spilled: int


@dataclass(frozen=True)
class Staying(Message):
    """These workers are registered at the scheduler, and are not about to leave."""

    names: list[str]


@dataclass(frozen=True)
class Failed(Message):
    """A rank cannot go on: the three parts of the error, and its status."""

    saw: str
    needed: str
    do: str
    status: int


@dataclass(frozen=True)
class Absent(Message):
    """A rank on the node's host will not join: what happened, and its status.

    *rank* is -1 for the rank with local rank 0 if its number is not known. *needed* and
    *do* are as in its error, if it has reported one. *host* is the name of its host
    where that is not the one that sends this.
    """

    rank: int
    saw: str
    needed: str = ""
    do: str = ""
    status: int = 75
    host: str = ""

    def on(self, node: str) -> str:
        """Return it in words, with the node's name."""
        which = f"rank {self.rank}" if self.rank >= 0 else "the rank of local rank 0"
        return f"{which} on {self.host or node} {self.saw}"


@dataclass(frozen=True)
class Note(Message):
    """A line for the user, which rank 0 prints."""

    text: str


#: How the name of a node's agent begins, among those whose logs can be read.
AGENT = "agent@"


@dataclass(frozen=True)
class LogPosition:
    """How far a process's log has been read.

    *before* has the last bytes before the *offset*, as Latin-1: where they are not
    there any more, older lines have been left out of the file.
    """

    name: str
    offset: int
    before: str


@dataclass(frozen=True)
class LogPiece:
    """Lines of a process's log, to a position."""

    text: str
    to: LogPosition


@dataclass(frozen=True)
class Lines(Message):
    """Lines of logs; *more* says that there are more by now."""

    number: int
    pieces: list[LogPiece]
    more: bool


@dataclass(frozen=True)
class Bye(Message):
    """All ranks of the node have stopped their clients and workers."""


# --- the hub to a rank ------------------------------------------------------


@dataclass(frozen=True)
class Start(Message):
    """The scheduler is up, so workers may start: a rank's part of ``Starts``.

    ``local_rank`` and ``local_size`` are counted by node name. ``masks`` has the CPUs
    that each rank of the node may use, in order; it is empty if not all are known.
    """

    address: str
    local_rank: int
    local_size: int
    masks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Waits(Message):
    """The rank is of a spare node: it waits, perhaps to the end, for its ``Start``."""


@dataclass(frozen=True)
class Ready(Message):
    """The cluster is complete, so the client may begin.

    The hub leaves the keys empty; a rank adds them for its own client, and *packages*,
    the directory of the cluster's packages on its node. *name* is the cluster's, and
    empty if it has none; *nonce* is what its record has and no other, also added there.
    """

    address: str
    dashboard: str
    nworkers: int
    certificate: str = ""
    private_key: str = ""
    name: str = ""
    packages: str = ""
    nonce: str = ""


@dataclass(frozen=True)
class Complete(Message):
    """The cluster is complete, so the scheduler may start what could wait."""


@dataclass(frozen=True)
class AskActivity(Message):
    """Ask the scheduler for its ``Activity``."""


@dataclass(frozen=True)
class AskWork(Message):
    """Ask the scheduler for its ``Work``, which it also tells now and then."""


@dataclass(frozen=True)
class Retire(Message):
    """Ask the scheduler to retire workers, until *left* of the workers *names* stay.

    It answers ``Staying``, also if it retires none: any client may have done so.
    """

    left: int
    names: list[str]


@dataclass(frozen=True)
class StartWorkers(Message):
    """Start these workers of the rank again, which have been retired."""

    names: list[str]


@dataclass(frozen=True)
class RetireAll(Message):
    """Ask the scheduler to retire all these workers within so many seconds.

    What they compute is finished there, what waits for them is given to others, and
    their data is moved. Of each worker that has ended, its rank says ``WorkerLeft``.
    """

    names: list[str]
    seconds: float


@dataclass(frozen=True)
class WorkersLost(Message):
    """The workers of a lost rank, which the scheduler removes.

    Dask notices by itself when a connection closes. But a node that stands still keeps
    its connections open.
    """

    names: list[str]


@dataclass(frozen=True)
class Close(Message):
    """The cluster ends with *status*: stop client and workers, say bye."""

    status: int


@dataclass(frozen=True)
class Finish(Message):
    """All ranks have said bye: stop the scheduler and leave.

    *status* is the exit status of the ranks; that of rank 0 is the job's. *why* is
    the reason for a join.
    """

    status: int = 0
    why: str = "the cluster has ended"


@dataclass(frozen=True)
class AskLines(Message):
    """Read on in logs of the rank's processes; it answers ``Lines`` of this *number*.

    Attributes
    ----------
    number : int
    names : list of str
        The processes; empty for all of the rank's.
    positions : list of LogPosition
        How far each log has been read; one that is not among them has not been.
    waits : bool
        Wait until there is more, for a while, and say only that; else read.
    last : bool
        Whether a line without an end is one: nobody will read on.
    """

    number: int
    names: list[str]
    positions: list[LogPosition]
    waits: bool
    last: bool


# --- both ways --------------------------------------------------------------


@dataclass(frozen=True)
class Ping(Message):
    """A sign of life."""


@dataclass(frozen=True)
class Signalled(Message):
    """A rank has got this signal; from the hub: the client gets it.

    ``rank`` is the rank that got it, if it has not joined and its leader reports it.
    """

    number: int
    rank: int = -1
