"""The first message to each program of a rank: what it is to do.

:mod:`dask_runner.node.make_instructions` makes them. They are values all through, but
for keywords that Dask takes as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dask_runner.launch.launch import Program
from dask_runner.launch.settings import Requested
from dask_runner.node.child import Sibling
from dask_runner.resources.worker_share import NamedWorker
from dask_runner.wire.message import Message


@dataclass(frozen=True, slots=True)
class Keys:
    """The cluster's TLS material, as text; empty without security.

    Our own processes get no names of files, which could be changed.

    Attributes
    ----------
    certificate, private_key : str
    """

    certificate: str
    private_key: str


@dataclass(frozen=True, slots=True)
class Modules:
    """Where the user's modules may be.

    What is found there is looked at in the processes that want it
    (:mod:`dask_runner.programs.user_modules`): a path may lead to a file server that
    does not answer.

    Attributes
    ----------
    at : tuple of str
        The program that they are beside or in, or a directory.
    command : bool
        Whether the program is a command, whose own Python may look elsewhere.
    added : tuple of str
        Places that a process which has looked there has added to the path of its
        children.
    packages : str
        The directory of the cluster's packages on this node; empty for none.
    """

    at: tuple[str, ...]
    command: bool = False
    added: tuple[str, ...] = ()
    packages: str = ""


@dataclass(frozen=True, slots=True)
class Imports:
    """What a process imports before it forks workers.

    Attributes
    ----------
    added : tuple of str
        Variables that it has for its import, and its forks do not.
    preload_modules : tuple of str
        Modules of the user's.
    packages : bool
        Whether some of them may be in packages that come later.
    """

    added: tuple[str, ...]
    preload_modules: tuple[str, ...]
    packages: bool = False


@dataclass(frozen=True, slots=True)
class Published:
    """Where the record of this rank 0 may be, which the agent removes if it is killed.

    It is known before there is a record.

    Attributes
    ----------
    key, nonce : str
        The record's.
    files : tuple of str
        Its files at the meeting; that in the cluster directory is found by the nonce.
    """

    key: str
    nonce: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class Makes(Message):
    """The first message to an early agent: what it removes if its leader is killed.

    The leader sends it before it makes the directory, and another one where somebody
    was faster.

    Attributes
    ----------
    directory : str
        The rank's.
    published : Published or None
        The record, in rank 0.
    """

    directory: str
    published: Published | None


@dataclass(frozen=True)
class Gives(Message):
    """The next one: a byte with descriptors follows, that of the log as the last.

    Attributes
    ----------
    numbers : list of int
        The leader's numbers of the others.
    """

    numbers: list[int]


@dataclass(frozen=True)
class Begin(Message):
    """The next one: what a fresh agent is started with. ``RunAgent`` follows.

    Attributes
    ----------
    environ : dict
        Its environment.
    log : str
        The path of its log.
    """

    environ: dict[str, str]
    log: str


@dataclass(frozen=True)
class RunAgent(Message):
    """Import Dask, fork the other processes, and look after the nannies.

    Attributes
    ----------
    siblings : tuple of Sibling
        The processes to fork.
    serves : bool
        Whether there will be workers.
    launchers : tuple of int
        Descriptors of the launcher's, for the agent alone.
    imports : Imports
    silence : float
        Seconds for which a worker, or the rank, may stand still.
    nannies : bool
        Whether the workers have some.
    files : int
        The user's limit of open files.
    top : int
        The process ID of the rank's top process, which starts the agent.
    stderr : int
        The descriptor that is the user's stderr: the agent's own is its log.
    published : Published or None
        The record, in rank 0.
    carrier : Sibling or None
        The process to fork first, which writes what the workers print.
    """

    siblings: tuple[Sibling, ...]
    serves: bool
    launchers: tuple[int, ...]
    imports: Imports
    silence: float
    nannies: bool
    files: int
    top: int
    stderr: int
    published: Published | None
    carrier: Sibling | None = None


@dataclass(frozen=True)
class RunForkServer(Message):
    """Import what the agent did, and be its fork server.

    Attributes
    ----------
    imports : Imports
    listener, alive, stderr : int
        Descriptors: its socket, the pipe whose end means that the agent is gone, and
        the user's stderr.
    carrier : int
        The descriptor of the socket to the node's carrier; -1 without one.
    """

    imports: Imports
    listener: int
    alive: int
    stderr: int
    carrier: int


@dataclass(frozen=True)
class RunScheduler(Message):
    """Run the scheduler.

    Attributes
    ----------
    dashboard : bool
        Whether it is to have one.
    ports : str or None
        Those that it may listen at (``--ports``).
    options : dict
        Keywords of Dask's Scheduler.
    modules : Modules
    environ : dict of str to str
        The cluster's variables.
    keys : Keys
    idle_timeout : float
        Seconds without a task after which it ends; 0 if it does not.
    no_client_timeout : float
        Seconds without a client after which it ends; 0 if it does not.
    labels : bool
        Whether what it prints is labelled.
    copy : str
        The file that gets what it prints as well; empty for none.
    """

    dashboard: bool
    ports: str | None
    options: dict[str, Any]
    modules: Modules
    environ: dict[str, str]
    keys: Keys
    idle_timeout: float = 0.0
    no_client_timeout: float = 0.0
    labels: bool = False
    copy: str = ""


@dataclass(frozen=True)
class RunClient(Message):
    """Run the user's program, once the cluster is ready.

    Attributes
    ----------
    program : Program
    text : str or None
        That of a program which can be read only once, in Base64.
    environ : dict of str to str
        The cluster's variables.
    report : str or None
        The file for Dask's performance report.
    """

    program: Program
    text: str | None
    environ: dict[str, str]
    report: str | None


@dataclass(frozen=True)
class RunWorkers(Message):
    """Start a rank's workers, and look after them.

    Attributes
    ----------
    scheduler : str
        Its address.
    worker_class : str
    modules : Modules
    common : dict
        Keywords that all workers or nannies get, from the rank's settings.
    options : dict
        Keywords that all get, from the user: the last word.
    nanny : bool
        Whether each worker has one.
    mpi_ranks : int
        The size of MPI's world that the worker is a rank of; 0 for none.
    workers : tuple of NamedWorker
    ports : str or None
        Those that they may listen at (``--ports``).
    fleet : NamedWorker or None
        What starts all of these, where their class does so itself.
    cpus : tuple of int
        The CPUs that the rank may use.
    directory, private : str
        The rank's working directory, and its private one.
    logs : tuple of str
        The log of each.
    labels : bool
        Whether what they print is labelled.
    copies : tuple of str
        The file of each that gets what it prints as well; empty for none.
    environ : dict of str to str
        Their variables.
    keys : Keys
    """

    scheduler: str
    worker_class: str
    modules: Modules
    common: dict[str, Any]
    options: dict[str, Any]
    nanny: bool
    mpi_ranks: int
    workers: tuple[NamedWorker, ...]
    ports: str | None
    fleet: NamedWorker | None
    cpus: tuple[int, ...]
    directory: str
    private: str
    logs: tuple[str, ...]
    environ: dict[str, str]
    keys: Keys
    labels: bool = False
    copies: tuple[str, ...] = ()


@dataclass(frozen=True)
class BuildPackages(Message):
    """Make the archive of the packages that the user has asked for.

    Attributes
    ----------
    requested : Requested
    cache : str or None
        The directory of archives that the user has named.
    scratch : str
        A private directory to make, for what is needed meanwhile.
    """

    requested: Requested
    cache: str | None
    scratch: str


@dataclass(frozen=True)
class UnpackPackages(Message):
    """Unpack an archive of packages.

    Attributes
    ----------
    path, key : str
        The archive, and what it has to be made from.
    into : str
        A directory to make.
    """

    path: str
    key: str
    into: str


@dataclass(frozen=True)
class RunBroadcast(Message):
    """Broadcast the record by MPI.

    Attributes
    ----------
    text : str
        The record in rank 0; else empty.
    size : int
        The number of ranks.
    """

    text: str
    size: int
