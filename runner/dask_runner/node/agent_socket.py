"""How the ranks of a node find their common agent, and whether it can speak for them.

The rank with the local rank 0 leads its node: its agent imports Dask for all. The
agent listens at an abstract socket (unix(7)), which needs no directory, leaves no
file, and is seen by whoever shares the network of the node. Its name has in it what
must be the same for one process to stand in for another: the launch, the user, the
image, the interpreter and the variables that act before a process begins. What
else a worker inherits from its rank is a :class:`Place`; the agent compares it with
its own, and declines a rank whose worker would get another place than the rank has.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dask_runner.linux import identity, peer, read
from dask_runner.node.follower import claim, has_own_user
from dask_runner.resources.gpus import GPU_VARIABLES
from dask_runner.resources.rank_share import UNLIMITED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from dask_runner.launch.world import World
    from dask_runner.resources.machine import Snapshot

#: How the names of variables begin that a process reads once, before or while it
#: imports Dask: a fork cannot change them any more.
EARLY = ("DASK_", "PYTHON", "LD_", "MALLOC_", "GLIBC_TUNABLES")
#: Of these, what the ranks of a cluster have of their own.
OWN = ("DASK_TEMPORARY_DIRECTORY", "DASK_RUNNER_")
#: The image that a process sees.
IMAGE = ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER")

#: Seconds for an agent to take a rank in, and between tries while its queue is full: a
#: hundred ranks of a node may come at once, and an agent that is busy is slow.
TAKES_IN = 10.0
AGAIN = 0.02

#: CPU numbers that a kernel may have (NR_CPUS of the largest builds).
MOST_CPUS = 8192


def home(world: World, environ: Mapping[str, str]) -> str:
    """Name the socket of the node's agent; empty where there can be none.

    Without a key that names this launch alone, two clusters could meet; without a user
    that is ours alone, strangers could.
    """
    if not world.key or world.local_rank is None or world.local_size == 1:
        return ""
    if not has_own_user():
        return ""
    early = sorted(
        f"{name}={value}"
        for name, value in environ.items()
        if name.startswith(EARLY) and not name.startswith(OWN)
    )
    image = [environ.get(name, "") for name in IMAGE]
    same = [world.key, str(os.geteuid()), sys.executable, sys.version, *image, *early]
    digest = hashlib.sha256("\0".join(same).encode(errors="surrogateescape"))
    return f"dask-runner-{digest.hexdigest()[:32]}"


def listen(name: str) -> socket.socket | None:
    """Open the socket of that name; None if another process has it."""
    claimed = claim(name)
    return socket.socket(fileno=claimed.detach()) if claimed else None


async def guests(listening: socket.socket) -> AsyncIterator[socket.socket]:
    """Yield the connections of this user's processes as they come.

    All others are closed, one in each turn of the event loop: a flood of them takes
    neither descriptors nor all of this process's time.
    """
    listening.setblocking(False)
    loop = asyncio.get_running_loop()
    while True:
        try:
            sock, _ = await loop.sock_accept(listening)
        except OSError:
            # No descriptor is left; what else accept(2) knows is the guest's trouble.
            await asyncio.sleep(AGAIN)
            continue
        if of_this_user(sock):
            yield sock
        else:
            sock.close()
        await asyncio.sleep(0)


async def connect(name: str) -> socket.socket | None:
    """Connect with the agent; None if there is none, or it is another user's.

    So it is if the agent takes nobody in for :data:`TAKES_IN` seconds.
    """
    try:
        async with asyncio.timeout(TAKES_IN):
            while True:
                sock = socket.socket(socket.AF_UNIX)
                # Else connect(2) sleeps for as long as the listener's queue is full.
                sock.setblocking(False)
                try:
                    sock.connect(f"\0{name}")
                except BlockingIOError:
                    sock.close()
                    await asyncio.sleep(AGAIN)
                else:
                    break
    except OSError:  # TimeoutError is one
        sock.close()
        return None
    if not of_this_user(sock):
        sock.close()
        return None
    return sock


def of_this_user(sock: Any) -> bool:
    """Say whether the process at the other end has this one's user."""
    return has_own_user() and peer(sock)[1] == os.geteuid()


@dataclass(frozen=True, slots=True)
class Place:
    """What a worker inherits from the process that forks it.

    Attributes
    ----------
    cpus : list of int
        The CPUs that the rank may use.
    directory, private : str
        The rank's working directory, and its own on a disk of the node.
    identity : list of list of int
        Device and inode of both, since two containers may mean different
        directories by one name.
    limits : list of str
        Limits of control groups that bind the rank.
    devices : list of str
        What it may see of GPUs, and in which control group; empty without any.
    """

    cpus: list[int]
    directory: str
    private: str
    identity: list[list[int]]
    limits: list[str]
    devices: list[str]

    @classmethod
    def of(cls, snapshot: Snapshot, private: Path) -> Self:
        """Describe this process's."""
        here = Path.cwd()
        variables = snapshot.environ
        gpus = [f"{k}={variables[k]}" for k in GPU_VARIABLES if variables.get(k)]
        return cls(
            list(snapshot.cpus),
            str(here),
            str(private),
            [identity(here), identity(private)],
            [
                f"{one.resource} {one.group if one.own else ''} {one.file} {one.text}"
                for one in snapshot.limits
                if not _is_none(one.text)
            ],
            [*gpus, read(Path("/proc/self/cgroup"))] if gpus else [],
        )

    def plain(self) -> dict[str, Any]:
        """Return it as a message carries it."""
        return asdict(self)

    def why_not(self, agent: Place) -> str:
        """Say why *agent*, whose own place is given, cannot stand in; "" if it can."""
        if self.limits != agent.limits:
            return "another memory or CPU limit"
        if self.devices != agent.devices:
            return "other GPUs"
        seen = [identity(Path(self.directory)), identity(Path(self.private))]
        if seen != self.identity:
            return "directories that it does not see"
        if not set(self.cpus) <= reachable():
            return "CPUs that it may not use"
        return ""


def reachable() -> set[int]:
    """Return the CPUs to which this process could move (cpuset(7))."""
    mask = os.sched_getaffinity(0)
    try:
        # The kernel takes off what the cpuset does not have.
        os.sched_setaffinity(0, range(MOST_CPUS))
        return os.sched_getaffinity(0)
    finally:
        os.sched_setaffinity(0, mask)


def _is_none(limit: str) -> bool:
    return limit.startswith(("max", "-1")) or (
        limit.isdigit() and int(limit) >= UNLIMITED
    )
