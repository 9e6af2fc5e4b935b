"""When the job ends, where the batch system tells it.

Slurm, Torque and OAR tell it by variables. PBS Pro (OpenPBS), Grid Engine, LSF, Flux,
HTCondor, Kubernetes and AWS Batch do not: there only a command knows, which is not in
an image, and asks a server that may be slow. Job scripts of ``dask-runner job`` set a
variable of ours there, and any other job script can.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner.launch.numbers import parse_digits_or_none
from dask_runner.launch.own_variables import END_VARIABLE
from dask_runner.launch.sourced import Sourced

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: A later end (in the year 6325) is a mistake, and no calendar's.
LATEST = 1 << 37

#: Of a job without a time limit, Slurm (24.11) says that it ends after a year.
SLURM_NO_LIMIT_SECONDS = 365 * 24 * 60 * 60

#: Seconds before that at which a cluster without a script ends, and at which a join
#: leaves, unless the user says otherwise (``--stop-before``).
END_BEFORE_SECONDS = 10.0
LEAVE_BEFORE_SECONDS = 60.0

#: How a user tells it, for messages.
HOW_TO_TELL = (
    f"write in the job script, with the job's time in seconds: export "
    f"{END_VARIABLE}=$(($(date +%s) + 3600))"
)


@dataclass(frozen=True, slots=True)
class Told:
    """One row of the table: how the end of a job is told.

    Attributes
    ----------
    by : str
        Who tells it.
    end : str
        The variable that has the end, in seconds since 1970; empty if none does.
    start : str
        The variable that has the job's start, in the same seconds.
    no_limit : int
        Seconds between the two in a job without a time limit.
    length : str
        The variable that has the seconds for which the job may run.
    begun : tuple of str
        Variables that name a file which was written when the job began, and not since.
    """

    by: str
    end: str = ""
    start: str = ""
    no_limit: int = 0
    length: str = ""
    begun: tuple[str, ...] = ()


#: In this order: a variable of ours may be inherited from the job that has submitted
#: this one, a batch system sets its own anew.
TABLE = (
    Told(
        "Slurm",
        end="SLURM_JOB_END_TIME",
        start="SLURM_JOB_START_TIME",
        no_limit=SLURM_NO_LIMIT_SECONDS,
    ),
    Told("Torque", length="PBS_WALLTIME", begun=("PBS_NODEFILE",)),
    # The prompt that OAR's documentation suggests counts the time left in this way.
    Told(
        "OAR",
        length="OAR_JOB_WALLTIME_SECONDS",
        begun=("OAR_NODEFILE", "OAR_NODE_FILE", "OAR_FILE_NODES"),
    ),
    Told("the job script", end=END_VARIABLE),
)


def _written_at(path: str) -> float | None:
    try:
        return Path(path).stat().st_mtime
    except (OSError, ValueError):
        return None  # an image does not show the host's file


def job_end(
    environ: Mapping[str, str],
    written_at: Callable[[str], float | None] = _written_at,
) -> Sourced[float | None]:
    """Return when the job ends, in seconds since 1970.

    None with a source is a job without a time limit; None without one is a job of which
    nothing tells it.

    Parameters
    ----------
    environ : mapping
    written_at : callable
        Returns when a file was written; None if it cannot be seen.
    """
    for row in TABLE:
        if end := _number(environ, row.end):
            start = _number(environ, row.start)
            if start and end - start == row.no_limit:
                days = row.no_limit // 86400
                return Sourced(None, f"{row.end} is {days} days after {row.start}")
            return Sourced(end, f"{row.end}={end}")
        length = _number(environ, row.length)
        for name in row.begun if length else ():
            began = written_at(environ[name]) if environ.get(name) else None
            if began is not None:
                source = f"{row.length}={length} from the time of {name}"
                return Sourced(began + length, source)
    return Sourced(None, "")


def _number(environ: Mapping[str, str], name: str) -> int:
    """Return the seconds in a variable; 0 if it has none to be believed."""
    found = parse_digits_or_none(environ.get(name, "")) or 0
    return found if found <= LATEST else 0


def end_time(environ: Mapping[str, str]) -> float | None:
    """Return when the job ends, in seconds since 1970; None for never or unknown."""
    return job_end(environ).value
