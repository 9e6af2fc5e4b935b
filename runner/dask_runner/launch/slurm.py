"""What Slurm's variables say about the step, and whether this process is in one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError
from dask_runner.launch.numbers import (
    number_in,
    parse_digits,
    parse_digits_or_none,
    quoted,
)
from dask_runner.launch.sourced import Sourced

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Environ = Mapping[str, str]

# Step numbers from here on do not belong to an srun: 0xfffffffb is the batch script,
# 0xfffffffa the shell that salloc opens on a compute node.
_FIRST_PSEUDO_STEP = 0xFFFFFFF0

# Components that a job may have (MAX_HET_JOB_COMPS in Slurm's source).
_MOST_COMPONENTS = 128


def tasks_on_node(text: str, node: int) -> int | None:
    """Return how many tasks Slurm put on a node.

    Parameters
    ----------
    text : str
        The value of ``SLURM_STEP_TASKS_PER_NODE``: ``2(x2),1`` means two tasks
        on each of the first two nodes and one on the third.
    node : int
        The node's number in the step (``SLURM_NODEID``).

    Returns
    -------
    int or None
        None when the text has fewer nodes.

    Raises
    ------
    ValueError
        When Slurm would not write such a text.
    """
    end = 0
    found = None
    # The whole text is read even if the node is found early, so that all ranks agree
    # on whether it is valid.
    for part in text.split(","):
        tasks, times = part, "1"
        if part.endswith(")"):
            tasks, _, times = part[:-1].partition("(x")
        begin, end, count = end, end + parse_digits(times), parse_digits(tasks)
        if begin <= node < end:
            found = count
    return found


def tasks_here(environ: Environ) -> Sourced[int | None]:
    """Return how many tasks of the step are on this node."""
    text = environ.get("SLURM_STEP_TASKS_PER_NODE")
    if text is None or "SLURM_NODEID" not in environ:
        return Sourced(None, "")
    node = number_in(environ, "SLURM_NODEID", 0)
    try:
        tasks = tasks_on_node(text, node)
    except ValueError:
        raise ConfigError(
            f"SLURM_STEP_TASKS_PER_NODE is {quoted(text)}",
            "the tasks of each node as Slurm writes them: 2(x2),1",
            "start the ranks with srun, and leave its variables as they are",
        ) from None
    return Sourced(tasks, f"SLURM_STEP_TASKS_PER_NODE={text} SLURM_NODEID={node}")


def ranks_here(environ: Environ) -> tuple[int, ...]:
    """Return the ranks of this node, in order; none where it is not told."""
    found = map(parse_digits_or_none, environ.get("SLURM_GTIDS", "").split(","))
    return tuple(rank for rank in found if rank is not None)


def restarts(environ: Environ) -> int:
    """Return how often the job was queued again; 0 also where nothing tells it."""
    return parse_digits_or_none(environ.get("SLURM_RESTART_COUNT", "")) or 0


def in_step(environ: Environ) -> bool:
    """Return whether the variables of a step are set, and the step is an srun's."""
    try:
        return parse_digits(environ["SLURM_STEP_ID"]) < _FIRST_PSEUDO_STEP
    except KeyError:
        return False
    except ValueError:
        # A step number that is wrong is reported where the rank is read.
        return True


def step_is_inherited(environ: Environ) -> bool:
    """Return whether srun set the variables of a step for another process."""
    if not in_step(environ):
        return True
    # sbatch in a task of srun hands the step's variables on to the batch script. In
    # its own tasks srun makes these two equal (but for --preserve-env).
    job, step = "SLURM_TASKS_PER_NODE", "SLURM_STEP_TASKS_PER_NODE"
    return job in environ and step in environ and environ[job] != environ[step]


#: What srun sets for all components of a heterogeneous job as for the last one.
_OF_A_COMPONENT = (
    "SLURM_CPUS_PER_TASK",
    "SLURM_MEM_PER_CPU",
    "SLURM_MEM_PER_NODE",
)


def of_component(environ: Environ) -> Environ:
    """Return the variables with those of this process's own component.

    The tasks of a heterogeneous job all have the environment of one srun, in which the
    components' own values have a suffix.
    """
    if "SLURM_HET_SIZE" not in environ:
        return environ
    own = {k: v for k, v in environ.items() if k not in _OF_A_COMPONENT}
    group = _component(environ)
    for name in _OF_A_COMPONENT:
        if (value := environ.get(f"{name}_HET_GROUP_{group}")) is not None:
            own[name] = value
    return own


def _component(environ: Environ) -> int | None:
    """Return the component whose node this is; components share no node."""
    size = parse_digits_or_none(environ["SLURM_HET_SIZE"]) or 0
    here = environ.get("SLURMD_NODENAME", "")
    for group in range(min(size, _MOST_COMPONENTS)):
        if has_node(environ.get(f"SLURM_JOB_NODELIST_HET_GROUP_{group}", ""), here):
            return group
    return None


def has_node(nodelist: str, name: str) -> bool:
    """Return whether a list of nodes as Slurm writes them, ``c[01-04,7],d1``, has one.

    Parameters
    ----------
    nodelist : str
    name : str
        The node's name, as Slurm has it.
    """
    import re  # noqa: PLC0415  only in heterogeneous jobs

    for part in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", nodelist):
        ranges = re.findall(r"\[([^\]]*)\]", part)
        words = map(re.escape, re.split(r"\[[^\]]*\]", part))
        found = re.fullmatch(r"(\d+)".join(words), name, re.ASCII)
        if found and all(map(_in_ranges, found.groups(), ranges)):
            return True
    return False


def _in_ranges(digits: str, ranges: str) -> bool:
    for one in ranges.split(","):
        first, _, last = one.partition("-")
        last = last or first
        # A number has as many digits as the first of its range, or more.
        if not (first.isdigit() and last.isdigit() and len(digits) >= len(first)):
            continue
        padded = len(digits) > len(first) and digits.startswith("0")
        if int(first) <= int(digits) <= int(last) and not padded:
            return True
    return False


def refuse_forgotten_srun(environ: Environ, argv: Sequence[str]) -> None:
    """Raise ConfigError if this is one process where Slurm gave room for several."""
    if "SLURM_JOB_ID" not in environ:
        return
    for name in (
        "SLURM_HET_SIZE",
        "SLURM_NTASKS",
        "SLURM_JOB_NUM_NODES",
        "SLURM_NNODES",
    ):
        if name in environ and number_in(environ, name, 1) > 1:
            raise ConfigError(
                f"Slurm job {environ['SLURM_JOB_ID']} has {name}={environ[name]},"
                " but this process is not a task of srun",
                "one process for each task, all started by srun",
                f"{srun_line(environ, argv)}\n"
                "           or add --launcher none, for this machine alone",
            )


def srun_line(environ: Environ, argv: Sequence[str]) -> str:
    """Return the command that starts ``dask-runner ARGV`` on a whole Slurm job."""
    import shlex  # noqa: PLC0415 # only for messages; it loads re

    image = environ.get("APPTAINER_CONTAINER") or environ.get("SINGULARITY_CONTAINER")
    program = ["apptainer", "run", image] if image else ["dask-runner"]
    # srun does not always take this request over from the job.
    cpus = environ.get("SLURM_CPUS_PER_TASK")
    options = [f"--cpus-per-task={cpus}"] if cpus else []
    # Without it, srun starts tasks on the nodes of the first component alone.
    components = parse_digits_or_none(environ.get("SLURM_HET_SIZE", ""))
    if components:
        options = [f"--het-group=0-{components - 1}"]
    return shlex.join(["srun", *options, *program, *(argv or ["script.py"])])
