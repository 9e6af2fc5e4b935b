"""The machine as one rank sees it, read once and kept as plain data.

Everything that :mod:`dask_runner.resources.rank_share`,
:mod:`dask_runner.resources.worker_share` and :mod:`dask_runner.resources.scratch`
decide, they decide from a :class:`Snapshot`; this module is the only one of them that
touches the system. It decides nothing: texts are kept as they were read, even absurd
ones.
"""

from __future__ import annotations

import os
import re
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner.launch.slurm import of_component
from dask_runner.linux import Mount, mounted, process, read
from dask_runner.resources import private_directory
from dask_runner.resources.cgroups import (
    Limit,
    is_below,
    limits_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Scratch candidates in the order in which they are tried.
SCRATCH = (
    "$SLURM_TMPDIR",
    "$FLUX_JOB_TMPDIR",
    "$_CONDOR_SCRATCH_DIR",
    "$TMPDIR",
    "$PBS_JOBDIR",
    "/local",
    "/scratch/$USER",
    "/var/tmp",  # noqa: S108 - a private directory is made inside, with mode 0700
    "/tmp",  # noqa: S108 - the same
)

#: Variables that say what a launcher gave; all others stay out of the snapshot.
VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "NCPUS",
    "PBS_JOBID",
    "ROCR_VISIBLE_DEVICES",
    "SLURM_CPUS_ON_NODE",
    "SLURM_CPUS_PER_TASK",
    "SLURM_GPUS_ON_NODE",
    "SLURM_GPUS_PER_TASK",
    "SLURM_JOB_GPUS",
    "SLURM_MEM_PER_CPU",
    "SLURM_MEM_PER_GPU",
    "SLURM_MEM_PER_NODE",
    "SLURM_STEP_GPUS",
    "ZE_AFFINITY_MASK",
)

# File systems that a rank must not even look at before it is asked to: a dead
# server would hold the look-up without end.
NETWORK = frozenset(
    {
        "9p",
        "afs",
        "autofs",
        "beegfs",
        "beegfs_nodev",
        "ceph",
        "cifs",
        "daos",
        "dvs",
        "fhgfs",
        "glusterfs",
        "gpfs",
        "lustre",
        "nfs",
        "nfs4",
        "orangefs",
        "panfs",
        "pvfs2",
        "quobyte",
        "scoutfs",
        "smb3",
        "smbfs",
        "wekafs",
        "fuse.ceph",
        "fuse.ceph-fuse",
        "fuse.daos",
        "fuse.dfuse",
        "fuse.gcsfuse",
        "fuse.glusterfs",
        "fuse.juicefs",
        "fuse.s3fs",
        "fuse.sshfs",
    }
)

# File systems that show several as one. What is written goes to the uppermost, which
# Charliecloud and machines without a disk have in memory, and which no other container
# shows.
LAYERS = frozenset({"aufs", "overlay", "fuse.fuse-overlayfs", "fuse.unionfs"})


@dataclass(frozen=True, slots=True)
class Directory:
    """A candidate for scratch files.

    Attributes
    ----------
    path : str
        Absolute path, symbolic links resolved unless on a network file system.
    source : str
        Who proposed it: "--local-directory", "TMPDIR", "default".
    kind : str
        The file system's type as mountinfo names it, "" where unknown.
    free : int
        Bytes that an ordinary user may still write.
    problem : str
        Why it cannot be used; empty if it can.
    others : str
        Why other accounts could rename what lies in it; empty if they cannot.
    layered : bool
        Whether it is in the layers of a container, or of a machine without a disk: the
        root is, and nothing is mounted on the way to it.
    """

    path: str
    source: str
    kind: str
    free: int
    problem: str
    others: str = ""
    layered: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one rank can know about its share of the node without asking others.

    Attributes
    ----------
    cpus : tuple of int
        CPUs in this process's affinity mask (hardware threads, kernel numbers).
    parent_cpus : tuple of int
        The parent process's mask; empty if it cannot be read.
    online : int
        CPUs of the node.
    memory : int
        The node's memory in bytes, 0 if unknown.
    limits : tuple of Limit
        Limits of the control groups on the way up, the nearest first.
    directories : tuple of Directory
        Scratch candidates in order of preference.
    environ : mapping
        Those of :data:`VARIABLES` that are set.
    step_memory : int
        The memory that a Slurm step has on the node, in bytes; 0 if that is not told.
    """

    cpus: tuple[int, ...]
    parent_cpus: tuple[int, ...]
    online: int
    memory: int
    limits: tuple[Limit, ...]
    directories: tuple[Directory, ...]
    environ: Mapping[str, str]
    step_memory: int = 0


def take(
    environ: Mapping[str, str],
    local_directory: str | None = None,
    root: str = "/",
    pid: int = 0,
) -> Snapshot:
    """Read the machine; a file that is missing or unreadable says nothing.

    Parameters
    ----------
    environ : mapping
        The rank's environment.
    local_directory : str, optional
        The directory that the user asked for, tried before all others.
    root : str
        Where ``proc`` and ``sys`` are; tests point it at captured trees.
    pid : int
        The process that the launcher started for the rank; 0 for this one. Another
        sees the same mounts.

    Returns
    -------
    Snapshot
    """
    base = Path(root)
    mounts = mounted(base / "proc")
    own = _affinity(pid)
    of = process(pid, base / "proc") if pid else None
    parent = (of.parent if of else 0) if pid else os.getppid()
    return Snapshot(
        cpus=own,
        parent_cpus=_affinity(parent),
        online=os.cpu_count() or len(own),
        memory=_total(read(base / "proc/meminfo")),
        limits=tuple(
            limits_of(
                base,
                read(base / f"proc/{pid or 'self'}/cgroup"),
                read(base / f"proc/{parent}/cgroup"),
                mounts,
            )
        ),
        directories=tuple(_directories(environ, local_directory, mounts)),
        environ={k: v for k, v in of_component(environ).items() if k in VARIABLES},
        step_memory=_step_memory(pid) if "SLURM_JOB_ID" in environ else 0,
    )


def _step_memory(pid: int) -> int:
    """Return the step's memory, which Slurm tells as a limit that Linux ignores."""
    try:
        _, hard = resource.prlimit(pid, resource.RLIMIT_RSS)
    except (OSError, AttributeError):  # macOS has no prlimit
        return 0
    return max(0, hard)


def _affinity(pid: int) -> tuple[int, ...]:
    try:
        return tuple(sorted(os.sched_getaffinity(pid)))
    except OSError:
        return ()
    except AttributeError:  # macOS has no affinity
        return tuple(range(os.cpu_count() or 1)) if pid == 0 else ()


def _total(meminfo: str) -> int:
    if found := re.search(r"^MemTotal:\s+(\d+) kB", meminfo, re.MULTILINE):
        return int(found[1]) * 1024
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return 0


def _directories(
    environ: Mapping[str, str],
    local_directory: str | None,
    mounts: tuple[Mount, ...],
) -> Iterator[Directory]:
    if local_directory:
        yield _asked(local_directory, mounts)
    for candidate in SCRATCH:
        head, dollar, name = candidate.partition("$")
        if dollar and not environ.get(name):
            continue
        path = Path(head + environ[name] if dollar else candidate)
        source = name if dollar and not head else "default"
        if path.is_absolute():
            yield _directory(str(path), source, mounts, may_be_made=False)


def _asked(local_directory: str, mounts: tuple[Mount, ...]) -> Directory:
    try:
        path = str(Path(local_directory).expanduser().absolute())
    except RuntimeError as error:  # a user without a home
        problem = f"cannot be used: {error}"
        return Directory(local_directory, "--local-directory", "", 0, problem)
    return _directory(path, "--local-directory", mounts, may_be_made=True)


def _directory(
    path: str, source: str, mounts: tuple[Mount, ...], *, may_be_made: bool
) -> Directory:
    shown = path.encode(errors="surrogateescape").decode(errors="backslashreplace")
    if shown != path:
        return Directory(shown, source, "", 0, "has a name that is no UTF-8")
    kind = _mount(path, mounts).kind
    if kind in NETWORK and source != "--local-directory":
        return Directory(path, source, kind, 0, "")
    try:
        real = Path(path).resolve()
        mount = _mount(str(real), mounts)
        kind = mount.kind
        there = real
        while may_be_made and not there.exists() and there != there.parent:
            there = there.parent
        if trouble := _trouble(there):
            return Directory(path, source, kind, 0, trouble)
        stat = os.statvfs(there)
        others = private_directory.exposure(there)
    except (OSError, RuntimeError, ValueError) as error:
        return Directory(path, source, kind, 0, f"cannot be used: {error}")
    problem = ""
    if others and source != "--local-directory":
        problem = f"is open to others: {others}"
    free = stat.f_bavail * stat.f_frsize
    layered = mount.point == "/" and kind in LAYERS
    return Directory(str(real), source, kind, free, problem, others, layered)


def _trouble(directory: Path) -> str:
    if not directory.exists():
        return "does not exist"
    if not directory.is_dir():
        return "is not a directory"
    return "" if os.access(directory, os.W_OK | os.X_OK) else "is not writable"


def kind_of(path: Path) -> str:
    """Return the type of the file system that a path is on, "" where unknown."""
    return _mount(str(path.resolve()), mounted()).kind


def _mount(path: str, mounts: tuple[Mount, ...]) -> Mount:
    # Of two mounts on one point the later covers the earlier.
    best = Mount("", "", "", ())
    for mount in mounts:
        if is_below(path, mount.point) and len(mount.point) >= len(best.point):
            best = mount
    return best
