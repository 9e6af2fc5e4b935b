"""What a process can see of where it is, beside its environment.

Read once, before MPI is loaded; :mod:`dask_runner.mpi.refusals` and
:mod:`dask_runner.mpi.lost_launcher` say what does not do.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


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
        Whether somebody types at this process.
    """

    ancestors: tuple[str, ...] = ()
    private: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    bound: tuple[str, ...] = ()
    terminal: bool = False


def look(environ: Mapping[str, str], proc: Path = Path("/proc")) -> Surroundings:
    """Read the surroundings of this process."""
    return Surroundings(
        tuple(_ancestors(proc)),
        _private(_read(proc / "self/mountinfo")),
        _libraries([f"{sys.prefix}/lib"]),
        _libraries(environ.get("LD_LIBRARY_PATH", "").split(":")),
        os.isatty(0),
    )


def _ancestors(proc: Path) -> list[str]:
    found: list[str] = []
    number = os.getppid()
    while number > 0:
        stat = _read(proc / str(number) / "stat")
        if not stat:
            break
        words = _read(proc / str(number) / "cmdline").replace("\0", " ").strip()
        found.append(words)
        # proc(5): the name is in brackets and may have any in itself.
        number = int(stat.rpartition(")")[2].split()[1])
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        # Another user's, or gone: nothing is known of it.
        return ""


def _private(mountinfo: str) -> tuple[str, ...]:
    mounts = {}
    for line in mountinfo.splitlines():
        # 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=...
        left, _, right = line.partition(" - ")
        place = left.split()[3:5]
        mounts[place[1]] = (place[0], right.split()[0])
    # The container's own directories lie in one tmpfs of its session, and so begin
    # at their own name in it; the host's /tmp begins at / or on a disk.
    sessions = (("/tmp", "/tmp"), ("/dev", "/dev/shm"))  # noqa: S108  compared
    return tuple(
        path for mount, path in sessions if mounts.get(mount) == (mount, "tmpfs")
    )


def _libraries(directories: list[str]) -> tuple[str, ...]:
    return tuple(
        str(path)
        for directory in directories
        if directory
        for path in sorted(Path(directory).glob("libmpi.so*"))
    )
