"""What a process can see of where it is, beside its environment.

Read once, before MPI is loaded; :mod:`dask_runner.mpi.refusals` and
:mod:`dask_runner.mpi.lost_launcher` decide what is refused.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner.linux import PROC, command_line, mounted, process, read

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_runner.linux import Mount

# The control group of a step that srun has started: a step of another kind has a name
# in place of the number, or, in Slurm before 20.11, one of the highest numbers.
_STEP = re.compile(r"slurm.*/job_(\d+)/step_(\d{1,9})(?=/|$)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a process can see of where it is, beside its environment.

    Attributes
    ----------
    ancestors : tuple of str
        Command lines, the parent's first, as far as the process can see.
    private : tuple of str
        Of /tmp and /dev/shm those that the container has for itself.
    hidden : tuple of str
        MPI libraries of the Python environment, which mpi4py takes before others.
    bound : tuple of str
        MPI libraries of directories in LD_LIBRARY_PATH.
    terminal : bool
        Whether this process's standard input is a terminal.
    user : int
        The number of the user as whom it runs; root's in a container that says so.
    step : str
        Slurm's step in whose control group this process is, "34.0"; empty for none.
    """

    ancestors: tuple[str, ...] = ()
    private: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    bound: tuple[str, ...] = ()
    terminal: bool = False
    user: int = 0
    step: str = ""


def look(environ: Mapping[str, str], proc: Path = PROC) -> Surroundings:
    """Read the surroundings of this process."""
    return Surroundings(
        tuple(_ancestors(proc)),
        _private(mounted(proc)),
        _libraries([f"{sys.prefix}/lib"]),
        _libraries(environ.get("LD_LIBRARY_PATH", "").split(":")),
        os.isatty(0),
        os.geteuid(),
        ".".join(_step(read(proc / "self/cgroup"))),
    )


def _step(groups: str) -> tuple[str, ...]:
    found = _STEP.search(groups)
    return found.groups() if found else ()


def _ancestors(proc: Path) -> list[str]:
    commands: list[str] = []
    number = os.getppid()
    while number > 0 and (found := process(number, proc)):
        commands.append(command_line(number, proc))
        number = found.parent
    return commands


def _private(found: tuple[Mount, ...]) -> tuple[str, ...]:
    # Of two mounts on one point the later covers the earlier.
    at = {mount.point: (mount.root, mount.kind) for mount in found}
    # The container's own directories lie in one tmpfs of its session, and so begin
    # at their own name in it; the host's /tmp begins at / or on a disk.
    sessions = (("/tmp", "/tmp"), ("/dev", "/dev/shm"))  # noqa: S108  compared
    return tuple(path for mount, path in sessions if at.get(mount) == (mount, "tmpfs"))


def _libraries(directories: list[str]) -> tuple[str, ...]:
    return tuple(
        str(path)
        for directory in directories
        if directory
        for path in sorted(Path(directory).glob("libmpi.so*"))
    )
