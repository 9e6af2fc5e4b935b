"""What a process outside the launch asks the hub, and what the hub answers.

Such a process has read the cluster's record, so it is the owner's, and proves that as a
node does. It sends one request a connection, and reads the answers to the end of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dask_runner.wire.message import Message

#: Raised when a message changes; a hub of another version says so.
VERSION = 5


@dataclass(frozen=True)
class Request(Message):
    """Base of all requests; *version* is the asking side's."""

    version: int = field(default=VERSION, kw_only=True)


@dataclass(frozen=True)
class Denied(Message):
    """The hub does not do what was asked: the three parts of the error."""

    saw: str
    needed: str
    do: str
    status: int


# --- the state of the cluster -------------------------------------------------


@dataclass(frozen=True)
class AskState(Request):
    """Ask for a ``State``."""


@dataclass(frozen=True)
class JoinState:
    """A join that is there.

    Attributes
    ----------
    name : str
    job : str
        The number of its batch job; empty where there is none.
    ranks, workers : int
        Its ranks, and the workers that they offer.
    leaves : bool
        Whether it leaves.
    """

    name: str
    job: str
    ranks: int
    workers: int
    leaves: bool


@dataclass(frozen=True)
class JobState:
    """A batch job whose ranks have joined, or were submitted so that they join.

    Attributes
    ----------
    number : str
    joined : bool
        Whether a rank of it has ever joined.
    """

    number: str
    joined: bool


@dataclass(frozen=True)
class State(Message):
    """The state of the cluster.

    Attributes
    ----------
    ready : bool
        Whether the cluster is complete.
    ending : bool
        Whether it ends.
    serves : bool
        Whether it has no script of its own.
    ranks, workers, nthreads, memory : int
        What is there; *memory* in bytes, 0 means no limit.
    capacity, least : int
        The workers that its ranks offer, and those with which it goes on.
    spare : int
        The nodes that wait to take the place of what is lost.
    age : float
        Seconds since it began.
    ends_at : float
        When its job ends, in seconds since 1970; 0 if that is not known.
    address : str
        The scheduler's; empty while there is none.
    dashboard : bool
        Whether it has a dashboard.
    clients : int
        Dask clients that are connected to the scheduler; -1 if it does not say.
    idle : float
        Seconds without a task; 0 while tasks run, -1 if the scheduler does not say.
    joins : list of JoinState
        The joins that are there, in the order in which they came.
    jobs : list of JobState
        The batch jobs whose ranks have joined or will, and that nobody has said to be
        gone, in the order in which the hub heard of them.
    packages, packages_key : str
        The archive of packages that it has beside the image's, and what that is made
        from; empty for none.
    """

    ready: bool
    ending: bool
    serves: bool
    ranks: int
    workers: int
    nthreads: int
    memory: int
    capacity: int
    least: int
    spare: int
    age: float
    ends_at: float
    address: str
    dashboard: bool
    clients: int
    idle: float
    joins: list[JoinState] = field(default_factory=list)
    jobs: list[JobState] = field(default_factory=list)
    packages: str = ""
    packages_key: str = ""


# --- its joins -------------------------------------------------------------------


@dataclass(frozen=True)
class AskJoin(Request):
    """Ask to be a node of the cluster: the first message of a join's node.

    The hub answers ``Joined``; from then on the two speak as a node and its hub.

    Attributes
    ----------
    node : str
        The name of its host.
    key : str
        The key of the join's launch, which its nodes have in common.
    size : int
        Its number of ranks.
    launcher, job_id : str
        What has started it, and the number of its job; the number is empty where there
        is no job.
    grace : float
        Seconds for its workers to be retired when it is told to leave.
    leaves_in : float
        Seconds until it leaves by itself, before its job ends; -1 for never.
    last_grace : float
        The same as *grace*, for that moment.
    """

    node: str
    key: str
    size: int
    launcher: str
    job_id: str
    grace: float
    leaves_in: float
    last_grace: float


@dataclass(frozen=True)
class TellJobs(Request):
    """Say which batch jobs were submitted to join the cluster, and which are gone.

    The hub answers ``State``. It keeps the list for all programs that scale the
    cluster.
    """

    submitted: list[str]
    gone: list[str]


# --- its end --------------------------------------------------------------------


@dataclass(frozen=True)
class AskStop(Request):
    """Ask the cluster, or one join of it, to end; *by* says who asks, in words.

    The hub answers ``Stopping``, and closes the connection when all ranks have left.
    """

    by: str
    join: str = ""


@dataclass(frozen=True)
class Stopping(Message):
    """The cluster ends."""


@dataclass(frozen=True)
class Attend(Request):
    """Stay connected until the cluster ends, as a program that uses it does.

    The hub answers ``State``, then ``Ping`` as a sign of life and, when the cluster
    ends, ``WillEnd``.
    """


@dataclass(frozen=True)
class WillEnd(Message):
    """The cluster ends with this status."""

    status: int


# --- the number of its workers ----------------------------------------------------


@dataclass(frozen=True)
class AskScale(Request):
    """Ask for so many workers; the hub answers ``WillScale`` at once.

    With *nearest*, a number that the cluster cannot have means the nearest that it can
    have. Otherwise the hub denies it.
    """

    workers: int
    nearest: bool = False


@dataclass(frozen=True)
class WillScale(Message):
    """The cluster retires workers, or starts some again, until it has so many."""

    workers: int


# --- its logs ---------------------------------------------------------------------


@dataclass(frozen=True)
class AskLogs(Request):
    """Ask for the logs of the cluster's processes.

    The hub answers with a ``LogText`` for each part of one, and ``AllShown``. To who
    *follows* it goes on with what is written then, ``LogLost``, ``Ping`` as a sign of
    life and, when the cluster ends, ``WillEnd``.

    Attributes
    ----------
    of : str
        ``scheduler``, ``agent@NODE``, or a worker's name; empty for all.
    follows : bool
    """

    of: str
    follows: bool


@dataclass(frozen=True)
class LogText(Message):
    """Lines that a process has written."""

    name: str
    text: str


@dataclass(frozen=True)
class LogLost(Message):
    """The rank *whose* logs these were is gone."""

    whose: str


@dataclass(frozen=True)
class AllShown(Message):
    """That was all that there is."""


# --- its dashboard ----------------------------------------------------------------


@dataclass(frozen=True)
class AskDashboard(Request):
    """Ask for a way to the scheduler's HTTP server.

    The hub answers ``Connected``; from then on both sides send plain bytes.
    """


@dataclass(frozen=True)
class Connected(Message):
    """What follows are bytes to and from the other side."""
