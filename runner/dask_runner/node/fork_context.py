"""Whether an agent can fork the workers of a rank that is not its own.

A worker inherits much from the process that forks it. What cannot be changed in a fork
has to be the same in the rank and in the agent's rank. The leader compares both, in one
place, for the ranks that it plays and for those that only share its agent.
"""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from dask_runner.launch.options import BY_KEY
from dask_runner.launch.own_variables import inherited
from dask_runner.launch.world import World  # noqa: TC001  a message has it
from dask_runner.linux import identity, read
from dask_runner.node.make_instructions import has_nannies
from dask_runner.resources.gpus import GPU_VARIABLES
from dask_runner.resources.rank_share import UNLIMITED
from dask_runner.wire.message import Message

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_runner.launch.launch import Launch
    from dask_runner.resources.machine import Snapshot

#: Prefixes of the variables that a process reads once, before or while it imports
#: Dask. A change in a fork has no effect.
STARTUP_PREFIXES = ("DASK_", "PYTHON", "LD_", "MALLOC_", "GLIBC_TUNABLES")
#: Prefixes of those that may differ between the ranks of a cluster.
MAY_DIFFER_PREFIXES = ("DASK_TEMPORARY_DIRECTORY", "DASK_RUNNER_")
#: Variables that hold the path of the image.
IMAGE_VARIABLES = ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER")

#: CPU numbers that a kernel may have (NR_CPUS of the largest builds).
MOST_CPUS = 8192


def at_startup(environ: Mapping[str, str]) -> str:
    """Return a digest of what takes effect as a process starts.

    That is the interpreter, the image, and variables.
    """
    early = sorted(
        f"{name}={value}"
        for name, value in environ.items()
        if name.startswith(STARTUP_PREFIXES)
        and not name.startswith(MAY_DIFFER_PREFIXES)
    )
    image = [environ.get(name, "") for name in IMAGE_VARIABLES]
    same = [sys.executable, sys.version, *image, *early]
    text = "\0".join(same).encode(errors="surrogateescape")
    return hashlib.sha256(text).hexdigest()


@dataclass(frozen=True, slots=True)
class ForkContext:
    """What the workers of a rank need from the process that forks them.

    Attributes
    ----------
    world : World
    startup : str
        What takes effect as a process starts (:func:`at_startup`).
    variables : tuple of str
        The names of the rank's variables.
    own_class : bool
        Whether workers or nannies have a class of the user's.
    nanny : bool
        Whether the agent's nannies watch the workers.
    cpus : tuple of int
        The CPUs that the rank may use.
    directories : tuple of str
        The rank's working directory, and its private one on a disk of the node.
    identities : tuple of tuple of int
        Device and inode of both, because one name may mean different directories in
        two containers.
    limits : tuple of str
        The limits of control groups that apply to the rank.
    devices : tuple of str
        The variables that name its GPUs, and its control group; empty without GPUs.
    """

    world: World
    startup: str
    variables: tuple[str, ...]
    own_class: bool
    nanny: bool
    cpus: tuple[int, ...]
    directories: tuple[str, ...]
    identities: tuple[tuple[int, ...], ...]
    limits: tuple[str, ...]
    devices: tuple[str, ...]

    @classmethod
    def of(cls, launch: Launch, snapshot: Snapshot, private: Path) -> Self:
        """Return that of a rank which works in this process's directory."""
        settings, variables = launch.settings, snapshot.environ
        gpus = [f"{k}={variables[k]}" for k in GPU_VARIABLES if variables.get(k)]
        directories = str(Path.cwd()), str(private)
        return cls(
            world=launch.world,
            startup=at_startup(launch.environ),
            variables=tuple(sorted(inherited(launch.environ, {}))),
            own_class=settings.worker_class != BY_KEY["worker_class"].default,
            nanny=has_nannies(settings),
            cpus=tuple(snapshot.cpus),
            directories=directories,
            identities=_identities(directories),
            limits=tuple(
                f"{one.resource} {one.group if one.own else ''} {one.file} {one.text}"
                for one in snapshot.limits
                if not _is_none(one.text)
            ),
            devices=(*gpus, read(Path("/proc/self/cgroup"))) if gpus else (),
        )

    def why_not(self, agent: ForkContext) -> str:
        """Return why an agent of the context *agent* cannot fork for this one.

        The leader of the node asks that, whose child the agent is. The answer is empty
        if the agent can.
        """
        objections = (
            (_launch(self.world) != _launch(agent.world), "another launch"),
            (not (self.nanny and agent.nanny), "workers without a nanny"),
            (
                self.startup != agent.startup,
                "variables that act at its start",
            ),
            (
                # A nanny class of the user's starts its worker itself.
                self.own_class and not set(agent.variables) <= set(self.variables),
                "other variables, and a class of the user's own",
            ),
            (self.limits != agent.limits, "another memory or CPU limit"),
            (self.devices != agent.devices, "other GPUs"),
            (
                _identities(self.directories) != self.identities,
                "directories that it does not see",
            ),
            (not set(self.cpus) <= reachable(), "CPUs that it may not use"),
        )
        return next((why for objects, why in objections if objects), "")


def _launch(world: World) -> tuple[str, str, int, int | None]:
    return world.launcher, world.key, world.size, world.local_size


def _identities(directories: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(identity(Path(one))) for one in directories)


def reachable() -> set[int]:
    """Return the CPUs to which this process could move (cpuset(7))."""
    mask = os.sched_getaffinity(0)
    try:
        # The kernel removes the CPUs that are not in the cpuset.
        os.sched_setaffinity(0, range(MOST_CPUS))
        return os.sched_getaffinity(0)
    finally:
        os.sched_setaffinity(0, mask)


def _is_none(limit: str) -> bool:
    return limit.startswith(("max", "-1")) or (
        limit.isdigit() and int(limit) >= UNLIMITED
    )


@dataclass(frozen=True)
class Borrow(Message):
    """A rank asks the leader of its node whether the leader's agent forks its workers.

    It gets ``Lent`` or ``Declined``. After ``Lent`` it sends what it would send to an
    agent of its own.
    """

    context: ForkContext
