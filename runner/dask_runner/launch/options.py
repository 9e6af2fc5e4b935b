"""Every option, declared once: its name, default, meaning and valid values.

:mod:`dask_runner.launch.settings` finds the values. It is long because it is one table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dask_runner.launch import values
from dask_runner.launch.own_variables import VARIABLE_OF_SECRET
from dask_runner.launch.plan import LAYOUTS
from dask_runner.launch.table import LAUNCHERS
from dask_runner.launch.walltime import END_BEFORE_SECONDS, LEAVE_BEFORE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PREFIX = "DASK_RUNNER__"

#: The verbs that start ranks, and those of a cluster of their own.
VERBS = ("run", "serve", "join")
_OWN = ("run", "serve")

#: Whose value of an option counts, if the ranks of a launch are given several: that of
#: rank 0, alone; that of each rank, for itself; or all have to have the same.
FIRST, EACH, ALL = "the first", "each", "all"


@dataclass(frozen=True, slots=True)
class Option:
    """One option.

    Attributes
    ----------
    name : str
        Its name on the command line, without the leading dashes, and below
        ``runner:`` in Dask's configuration.
    help : str
    default : Any
    parse : callable
        Turns a text (or a configured value) into the value; its ValueError says what
        is valid.
    metavar : str
        What ``--help`` shows for the value; empty for a flag.
    short : str
        A short form, such as "-n".
    multiple : bool
        Whether it may be given several times.
    verbs : tuple of str
        The verbs that have it.
    ranks : str
        Whose value counts: ``FIRST``, ``EACH`` or ``ALL``.
    """

    name: str
    help: str
    default: Any
    parse: Callable[[Any], Any] = str
    metavar: str = "TEXT"
    short: str = ""
    multiple: bool = False
    verbs: tuple[str, ...] = VERBS
    ranks: str = FIRST

    @property
    def key(self) -> str:
        """The name as a Python identifier."""
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return PREFIX + self.key.upper()


SECURITY = ("tls", "none")

OPTIONS: tuple[Option, ...] = (
    Option(
        "nranks",
        "Local ranks to start where no launcher does.",
        None,
        values.positive,
        "N",
        "-n",
        ranks=EACH,
    ),
    Option(
        "hosts",
        "Start the ranks on these hosts over your own ssh: one each, or as many as "
        "stand behind a colon.",
        None,
        values.hosts,
        "HOST[:N],...",
        ranks=EACH,
    ),
    Option(
        "hostfile",
        "The same from a file, a host a line: HOST, HOST slots=N or HOST:N.",
        None,
        str,
        "FILE",
        ranks=EACH,
    ),
    Option(
        "image",
        "With --hosts: run the ranks in this image (apptainer run), which each host "
        "has at that path.",
        None,
        str,
        "IMAGE.sif",
        ranks=EACH,
    ),
    Option(
        "launcher",
        "Who started the ranks: auto, none, or a name that `dask-runner info` lists.",
        "auto",
        values.choice("auto", "none", *(row.name for row in LAUNCHERS)),
        "NAME",
        ranks=EACH,
    ),
    Option(
        "name",
        "Name of the cluster, by which list, stop, connect and Cluster.from_name find "
        "it; default: the job's.",
        None,
        values.cluster_name,
        "NAME",
        verbs=_OWN,
    ),
    Option(
        "size",
        "Ranks of the cluster, where no launcher counts them: each process that is "
        "started gets a number from the first one. auto: as the batch system's file of "
        "hosts has them.",
        None,
        values.size,
        "N|auto",
        verbs=_OWN,
        ranks=EACH,
    ),
    Option(
        "meet",
        "Where the ranks meet without a shared directory: an address of one host that "
        "all reach. The rank that can listen there is rank 0, where no launcher tells "
        "which is. Needs a secret.",
        None,
        values.meet,
        "tcp://HOST:PORT",
        verbs=_OWN,
        ranks=EACH,
    ),
    Option(
        "secret-file",
        "File with the secret of the ranks that meet at an address, the same for all "
        f"and yours alone; or set {VARIABLE_OF_SECRET}.",
        None,
        str,
        "FILE",
        verbs=_OWN,
        ranks=EACH,
    ),
    Option(
        "layout",
        "; ".join(f"{name}: {layout.meaning}" for name, layout in LAYOUTS.items())
        + ".",
        "shared",
        values.choice(*LAYOUTS),
        "|".join(LAYOUTS),
        verbs=_OWN,
        ranks=ALL,
    ),
    Option(
        "min-workers",
        "Start once N workers are there (default: all), and end when fewer than N are "
        "left (default: 1).",
        None,
        values.positive,
        "N",
        verbs=_OWN,
    ),
    Option(
        "spare",
        "Nodes that wait without workers, to take the place of one that is lost: the "
        "last ones without scheduler and client; with -n, ranks.",
        0,
        values.count,
        "N",
        verbs=_OWN,
    ),
    Option(
        "timeout",
        "Seconds for all ranks and workers to arrive.",
        60.0,
        values.seconds,
        "SECONDS",
    ),
    Option(
        "grace",
        "Seconds that the script has to end itself after SIGTERM or SIGINT, and the "
        "workers of a join to finish what they compute.",
        5.0,
        values.seconds,
        "SECONDS",
    ),
    Option(
        "stop-before",
        "Send the script SIGTERM this many seconds before the job's time limit; it has "
        f"all but the last {END_BEFORE_SECONDS:g} of them, or --grace, to end itself. "
        "A cluster without a script ends then (default for that: "
        f"{END_BEFORE_SECONDS:g}), and a join leaves (default for that: "
        f"{LEAVE_BEFORE_SECONDS:g}).",
        None,
        values.seconds,
        "SECONDS",
    ),
    Option(
        "requeue-before",
        "As --stop-before; then, when the script has saved its work and ended, have "
        "Slurm queue the job again.",
        None,
        values.seconds,
        "SECONDS",
        verbs=_OWN,
    ),
    Option(
        "idle-timeout",
        "End the cluster when no task has run for so long.",
        None,
        values.seconds,
        "SECONDS",
        verbs=("serve",),
    ),
    Option(
        "no-client-timeout",
        "End the cluster when no client has been connected for so long.",
        None,
        values.seconds,
        "SECONDS",
        verbs=("serve",),
    ),
    Option(
        "silence",
        "Seconds without a sign of life after which a rank counts as lost.",
        30.0,
        values.seconds,
        "SECONDS",
    ),
    Option(
        "security",
        "tls: encrypt and authenticate all connections with keys made for this "
        "cluster; none: anyone who reaches the scheduler runs code as you.",
        "tls",
        values.choice(*SECURITY),
        "|".join(SECURITY),
        verbs=_OWN,
        ranks=ALL,
    ),
    Option(
        "report",
        "Write what the run used, computed and lost to FILE.json, and a figure of "
        "that to FILE.svg; FILE.html is Dask's performance report; may be repeated. "
        "{job_id} is replaced.",
        (),
        values.reports,
        "FILE",
        multiple=True,
        verbs=_OWN,
    ),
    Option(
        "label",
        "Print the worker's name before each line that its tasks print; default: where "
        "there may be more than one worker.",
        None,
        values.flag,
        "",
        ranks=EACH,
    ),
    Option(
        "log-directory",
        "Directory for the logs of scheduler, agents and workers, with what tasks "
        "print; {job_id} and {worker} are replaced.",
        None,
        str,
        "DIR",
        ranks=EACH,
    ),
    Option(
        "progress",
        "Show how far the tasks are: on a terminal a bar, in a log a line now and then "
        "after half a minute.",
        True,
        values.flag,
        "",
        verbs=_OWN,
    ),
    Option("quiet", "Print errors only.", False, values.flag, "", ranks=EACH),
    Option(
        "nworkers",
        "Workers a rank; auto follows `dask worker --nworkers auto`; default: one, or "
        "one a GPU.",
        None,
        values.nworkers,
        "N|auto",
        ranks=EACH,
    ),
    Option(
        "nthreads",
        "Threads a worker; default: all its CPUs.",
        None,
        values.positive,
        "N",
        ranks=EACH,
    ),
    Option(
        "memory-limit",
        "Memory a worker: bytes with a unit, a fraction of its share, auto, or 0 for "
        "no limit.",
        "auto",
        values.limit,
        "BYTES",
        ranks=EACH,
    ),
    Option(
        "nanny",
        "Restart workers that die or outgrow their memory.",
        True,
        values.flag,
        "",
        ranks=EACH,
    ),
    Option(
        "mpi-tasks",
        "Let tasks use MPI: each rank's worker is the launcher's rank in "
        "MPI_COMM_WORLD, and has no nanny.",
        False,
        values.flag,
        "",
        ranks=ALL,
    ),
    Option(
        "worker-class",
        "The class of the workers.",
        "dask.distributed.Worker",
        str,
        "CLASS",
        ranks=EACH,
    ),
    Option(
        "local-directory",
        "Node-local directory for spilled data; a private one is made in it.",
        None,
        str,
        "DIR",
        ranks=EACH,
    ),
    Option(
        "interface",
        "Network interface for all connections, such as ib0.",
        None,
        str,
        "NAME",
        ranks=EACH,
    ),
    Option(
        "ports",
        "Ports at which all of the cluster listens, for a firewall: hub, scheduler, "
        "workers and nannies; default: of the system's choice.",
        None,
        values.ports,
        "FIRST-LAST",
        ranks=EACH,
    ),
    Option(
        "protocol",
        "Protocol of Dask's connections: tls (default) or wss; with --security none "
        "any that Dask has, default tcp.",
        None,
        str,
        "NAME",
        verbs=_OWN,
        ranks=ALL,
    ),
    Option(
        "preload",
        "Module that each worker loads first; may be repeated.",
        (),
        values.strings,
        "MODULE",
        multiple=True,
        ranks=EACH,
    ),
    Option(
        "preload-modules",
        "Modules that the workers of a node share, such as numpy,pandas: imported "
        "once, before the workers are forked.",
        (),
        values.names,
        "NAME,...",
        ranks=EACH,
    ),
    Option(
        "resources",
        'Resources of each worker, such as "GPU=2 MEM=10e9".',
        None,
        values.resources,
        "NAME=N ...",
        ranks=EACH,
    ),
    Option(
        "dashboard-address",
        "Open a port for the dashboard, which anyone who reaches it can read; default: "
        "a Unix socket that only you can open.",
        None,
        values.address,
        "HOST:PORT",
        verbs=_OWN,
    ),
    Option(
        "dashboard",
        "Serve Dask's dashboard (needs bokeh).",
        True,
        values.flag,
        "",
        verbs=_OWN,
    ),
    Option(
        "with",
        "A Python package that script and workers have beside the image's, as "
        "`uv run --with` takes it; may be repeated.",
        (),
        values.requirements,
        "PKG",
        multiple=True,
        verbs=_OWN,
    ),
    Option(
        "with-requirements",
        "The same with the packages that a requirements file lists; may be repeated.",
        (),
        values.files,
        "FILE",
        multiple=True,
        verbs=_OWN,
    ),
    Option(
        "package-cache",
        "Directory that all nodes share, where these packages are kept for later jobs; "
        "default: ~/.cache/dask-runner/packages.",
        None,
        str,
        "DIR",
        verbs=_OWN,
    ),
    Option(
        "scheduler-file",
        "File by which the ranks meet, on a file system that all nodes share, and by "
        "which Dask clients find the scheduler; {job_id} is replaced.",
        None,
        str,
        "FILE",
        verbs=_OWN,
    ),
)

BY_KEY: Mapping[str, Option] = {option.key: option for option in OPTIONS}
