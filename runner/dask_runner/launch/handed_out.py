"""Launches of which no launcher counts the ranks: what their processes know.

``pbsdsh``, ``qrsh -inherit``, ``oarsh``, ``blaunch``, job arrays and loops of ``ssh``
start processes that know their job, or a name, and how many there are to be. They get
their numbers from the one that comes first (:mod:`dask_runner.node.handing_out`). The
functions here are pure: they are told what the files of batch systems contain.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError
from dask_runner.launch.detect import detect, is_started
from dask_runner.launch.key import spelled
from dask_runner.launch.numbers import MOST_RANKS, parse_digits_or_none
from dask_runner.launch.own_variables import JOB_ID_VARIABLE
from dask_runner.launch.sourced import Sourced
from dask_runner.launch.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dask_runner.launch.settings import Settings

    Environ = Mapping[str, str]

#: The value of ``--size`` by which the batch system tells it.
AUTO = "auto"
#: What messages and :attr:`World.launcher` call a launch of no batch system.
ANYTHING = "handed-out"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a process knows of a launch in which ranks are handed out.

    Attributes
    ----------
    system : str
        The batch system; :data:`ANYTHING` without one.
    size : int
        The number of ranks.
    job_id : str
        The job's name as the user knows it; empty without one.
    key : str
        What its processes have in common, and no others of the user at that time.
    source : str
        Where the size and the key come from.
    """

    system: str
    size: int
    job_id: str
    key: str
    source: str


@dataclass(frozen=True, slots=True)
class System:
    """One row of the table: a batch system that starts processes and counts none.

    Attributes
    ----------
    name : str
        Its name, as :attr:`World.launcher` has it.
    marks : tuple of str
        Variables that are all set in its jobs.
    job_id : str
        The variable that has the job's name.
    array : str
        The one that has the name of the array of which the job is an element.
    index : str
        The one that has the element's number, where the job's name lacks it.
    task : callable
        Whether a process is one of several that the system's own command has started.
    size : tuple of Count
        What tells how many there are; the first that can be read counts.
    start : str
        How a user starts ranks with it; for messages.
    """

    name: str
    marks: tuple[str, ...]
    job_id: str
    start: str
    array: str = ""
    index: str = ""
    task: Callable[[Environ], bool] = lambda _: False
    size: tuple[Count, ...] = ()


@dataclass(frozen=True, slots=True)
class Count:
    """How many ranks a variable tells: a number, or a file that lists them."""

    variable: str
    counts: Callable[[str], int]
    in_file: bool = True


def _lines(text: str) -> int:
    """Return the lines of a file: a task each."""
    return sum(bool(line.strip()) for line in text.splitlines())


def _hosts(text: str) -> int:
    """Return the hosts in a file, of which each has one line or several."""
    return len({line.split()[0] for line in text.splitlines() if line.strip()})


def _number(text: str) -> int:
    found = parse_digits_or_none(text)
    if found is None:
        raise ValueError(text)
    return found


def _pbsdsh(environ: Environ) -> bool:
    # The job script is task 1; pbsdsh has started those that have other numbers.
    return environ.get("PBS_TASKNUM", "1") != "1"


def _blaunch(environ: Environ) -> bool:
    return "LSF_PM_TASKID" in environ


#: In this order: a job of Slurm may have been submitted in one of another system.
SYSTEMS = (
    System(
        name="slurm",
        marks=("SLURM_JOB_ID",),
        job_id="SLURM_JOB_ID",
        array="SLURM_ARRAY_JOB_ID",
        size=(Count("SLURM_ARRAY_TASK_COUNT", _number, in_file=False),),
        start="sbatch --array=0-3 --wrap 'dask-runner --size 4 --name lab script.py'",
    ),
    System(
        name="pbs",
        marks=("PBS_JOBID",),
        job_id="PBS_JOBID",
        array="PBS_ARRAY_ID",
        task=_pbsdsh,
        size=(Count("PBS_NODEFILE", _lines),),
        start="pbsdsh dask-runner --size $(wc -l < $PBS_NODEFILE) script.py",
    ),
    System(
        name="oar",
        marks=("OAR_JOB_ID",),
        job_id="OAR_JOB_ID",
        array="OAR_ARRAY_ID",
        size=(Count("OAR_NODEFILE", _hosts), Count("OAR_NODE_FILE", _hosts)),
        start="oarsh HOST dask-runner --size 4 --name lab script.py, for each host",
    ),
    System(
        name="lsf",
        marks=("LSB_JOBID",),
        job_id="LSB_JOBID",
        array="LSB_JOBID",
        index="LSB_JOBINDEX",
        task=_blaunch,
        size=(
            Count("LSB_DJOB_NUMPROC", _number, in_file=False),
            Count("LSB_DJOB_HOSTFILE", _lines),
        ),
        start="blaunch dask-runner --size $LSB_DJOB_NUMPROC script.py",
    ),
    System(
        name="sge",
        # Its variables have no prefix of their own; JOB_ID may be anybody's.
        marks=("JOB_ID", "SGE_TASK_ID"),
        job_id="JOB_ID",
        array="JOB_ID",
        index="SGE_TASK_ID",
        size=(
            Count("PE_HOSTFILE", _hosts),
            Count("NHOSTS", _number, in_file=False),
        ),
        start="qrsh -inherit HOST dask-runner --size $NHOSTS script.py, for each host",
    ),
)
#: What Grid Engine and LSF write where a job is no element of an array.
_NO_INDEX = ("", "0", "undefined")


def _read(path: str) -> str:
    return Path(path).read_text()


def system(environ: Environ) -> System | None:
    """Return the row of the batch system in whose job this process is."""
    return next(
        (row for row in SYSTEMS if all(environ.get(name) for name in row.marks)), None
    )


def batch_job(environ: Environ) -> tuple[str, str]:
    """Return the batch system in whose job this process is, and the job's name.

    Both are empty outside of a job. No launcher has to count the process.
    """
    row = system(environ)
    return (row.name, environ[row.job_id]) if row is not None else ("", "")


def asked(
    environ: Environ, settings: Settings, read: Callable[[str], str] = _read
) -> Asked | None:
    """Return what this process knows of a launch in which ranks are handed out.

    Parameters
    ----------
    environ : mapping
    settings : Settings
    read : callable
        Returns the text of a file.

    Returns
    -------
    Asked or None
        None where the user has not asked for it, and no batch system's own command has
        started this process.

    Raises
    ------
    ConfigError
        If the size is not known, or nothing tells this launch from others.
    """
    row, found = system(environ), dict(settings)
    if settings.nranks is not None:
        if found["size"].source.startswith("--"):
            raise ConfigError(
                f"-n {settings.nranks} and --size {settings.size}",
                "one of them: -n starts local ranks, and with --size somebody else "
                "starts them",
                "leave out -n",
            )
        return None  # a variable may have the size of the launch around this one
    is_task = row is not None and settings.launcher == "auto" and row.task(environ)
    if settings.size is None and not is_task:
        return None
    size = _size(environ, settings, row, read)
    job = _job(environ, row, named=settings.name is not None)
    if not (settings.name or job.value or settings.scheduler_file or settings.meet):
        raise ConfigError(
            f"--size {size.value} without a name, in no job",
            "a name that the processes of this launch have in common, and no others",
            "add --name NAME to each of them",
        )
    parts = (ANYTHING, job.value, settings.name or "")
    key = ".".join(spelled(part) for part in parts).rstrip(".")
    sources = [size.source, job.source, found["name"].source]
    source = " ".join(one for one in sources if one not in ("", "default"))
    launcher = row.name if row is not None else ANYTHING
    return Asked(launcher, size.value, job.value, key, source)


def counted(environ: Environ, settings: Settings, asked: Asked) -> World | None:
    """Return the World of a launcher that counts ranks; None to hand them out.

    Each element of an array may have a launcher of its own, which counts one rank.

    Raises
    ------
    ConfigError
        If a launcher has started another number of ranks.
    """
    if settings.launcher == "auto" and not is_started(environ):
        return None
    world = detect(environ, settings.launcher)
    if world is None or (world.size == 1 and asked.size > 1):
        return None
    if world.size != asked.size:
        raise ConfigError(
            f"--size {asked.size}, and {world.launcher} has started {world.size} ranks",
            "one number of ranks",
            f"leave out --size ({asked.source}): {world.launcher} counts the ranks",
        )
    return world


def any_place(asked: Asked) -> World:
    """Return the place of the first process, which any of the launch may become."""
    return World(
        launcher=asked.system,
        rank=0,
        size=asked.size,
        local_rank=None,
        local_size=None,
        job_id=asked.job_id,
        key="",
        meeting="file",
    )


def of_world(world: World) -> Asked:
    """Return the same of a launch whose ranks are counted, and only have to meet."""
    return Asked(world.launcher, world.size, world.job_id, world.key, world.launcher)


def _size(
    environ: Environ,
    settings: Settings,
    row: System | None,
    read: Callable[[str], str],
) -> Sourced[int]:
    """Return the number of ranks, as the user or the batch system tells it."""
    if settings.size not in (None, AUTO):
        return Sourced(int(settings.size), dict(settings)["size"].source)
    troubles = []
    for count in row.size if row is not None else ():
        name = count.variable
        if name not in environ:
            continue
        try:
            value = environ[name]
            found = count.counts(read(value) if count.in_file else value)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "is no such thing"
            troubles.append(f"{name}={environ[name]}: {why}")
            continue
        if 1 <= found <= MOST_RANKS:
            return Sourced(found, f"{name}={environ[name]}")
        troubles.append(f"{name}={environ[name]} has {found}")
    saw = "; ".join(troubles) or "no variable of a batch system that tells it"
    start = row.start if row is not None else "dask-runner --size 4 script.py"
    raise ConfigError(
        f"the number of ranks is not known: {saw}",
        "the number of processes that are started",
        f"add --size N to each of them: {start}",
    )


def _job(environ: Environ, row: System | None, *, named: bool) -> Sourced[str]:
    """Return the job's name.

    Elements of an array belong together where the user has given all one name.
    """
    if environ.get(JOB_ID_VARIABLE):
        return Sourced(environ[JOB_ID_VARIABLE], JOB_ID_VARIABLE)
    if row is None:
        return Sourced("", "")
    if named and environ.get(row.array):
        return Sourced(environ[row.array], row.array)
    index = environ.get(row.index, "")
    tail = f"-{index}" if index not in _NO_INDEX else ""
    return Sourced(f"{environ[row.job_id]}{tail}", row.job_id)
