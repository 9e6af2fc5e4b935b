"""The socket of a node's agent, and whether the agent can fork for a rank.

The rank with local rank 0 leads its node, and its agent imports Dask for all ranks. The
agent listens at an abstract socket (unix(7)), which needs no directory and leaves no
file; every process in the node's network namespace can see it. The socket's name is a
hash of what has to be equal in a rank and in the agent's rank: the launch, the user,
the image, the interpreter, and the variables that take effect as a process starts. What
else a worker inherits from its rank is a :class:`Place`. The agent compares it with its
own, and declines a rank whose workers could not get that rank's place.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import sys
from dataclasses import dataclass
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

#: Prefixes of the variables that a process reads once, before or while it imports
#: Dask. A change in a fork has no effect.
STARTUP_PREFIXES = ("DASK_", "PYTHON", "LD_", "MALLOC_", "GLIBC_TUNABLES")
#: Prefixes of those that may differ between the ranks of a cluster.
RANK_PREFIXES = ("DASK_TEMPORARY_DIRECTORY", "DASK_RUNNER_")
#: Variables that hold the path of the image.
IMAGE_VARIABLES = ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER")

#: Seconds until an agent accepts a connection. A hundred ranks of a node may connect at
#: once, and a busy agent is slow.
CONNECT_SECONDS = 10.0
#: Seconds between tries while the agent's queue of connections is full.
RETRY_SECONDS = 0.02

#: CPU numbers that a kernel may have (NR_CPUS of the largest builds).
MOST_CPUS = 8192


def home(world: World, environ: Mapping[str, str]) -> str:
    """Return the name of the agent's socket; empty where there can be none.

    Without a key of this launch alone, ranks of two clusters could meet; without a user
    ID of this user alone, strangers could connect.
    """
    if not world.key or world.local_rank is None or world.local_size == 1:
        return ""
    if not has_own_user():
        return ""
    early = sorted(
        f"{name}={value}"
        for name, value in environ.items()
        if name.startswith(STARTUP_PREFIXES) and not name.startswith(RANK_PREFIXES)
    )
    image = [environ.get(name, "") for name in IMAGE_VARIABLES]
    same = [world.key, str(os.geteuid()), sys.executable, sys.version, *image, *early]
    digest = hashlib.sha256("\0".join(same).encode(errors="surrogateescape"))
    return f"dask-runner-{digest.hexdigest()[:32]}"


def listen(name: str) -> socket.socket | None:
    """Open a socket of this name; return None if another process has the name."""
    claimed = claim(name)
    return socket.socket(fileno=claimed.detach()) if claimed else None


async def guests(listening: socket.socket) -> AsyncIterator[socket.socket]:
    """Yield connections from this user's processes.

    Other connections are closed, one in each turn of the event loop, so that a flood of
    them uses up neither the descriptors nor the time of this process.
    """
    listening.setblocking(False)
    loop = asyncio.get_running_loop()
    while True:
        try:
            sock, _ = await loop.sock_accept(listening)
        except OSError:
            # No descriptor is left. All other errors of accept(2) are the peer's.
            await asyncio.sleep(RETRY_SECONDS)
            continue
        if of_this_user(sock):
            yield sock
        else:
            sock.close()
        await asyncio.sleep(0)


async def connect(name: str) -> socket.socket | None:
    """Connect to the agent.

    Returns
    -------
    socket or None
        None if there is no agent, if it is another user's, or if it accepts no
        connection for :data:`CONNECT_SECONDS`.
    """
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            while True:
                sock = socket.socket(socket.AF_UNIX)
                # A blocking connect(2) would sleep while the listener's queue is full.
                sock.setblocking(False)
                try:
                    sock.connect(f"\0{name}")
                except BlockingIOError:
                    sock.close()
                    await asyncio.sleep(RETRY_SECONDS)
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
    """Return whether this user's process is at the other end."""
    return has_own_user() and peer(sock)[1] == os.geteuid()


@dataclass(frozen=True, slots=True)
class Place:
    """What a worker inherits from the process that forks it.

    Attributes
    ----------
    cpus : list of int
        The CPUs that the rank may use.
    directory, private : str
        The rank's working directory, and its private one on a disk of the node.
    identity : list of list of int
        Device and inode of both, because one name may mean different directories in
        two containers.
    limits : list of str
        The limits of control groups that apply to the rank.
    devices : list of str
        The variables that name its GPUs, and its control group; empty without GPUs.
    """

    cpus: list[int]
    directory: str
    private: str
    identity: list[list[int]]
    limits: list[str]
    devices: list[str]

    @classmethod
    def of(cls, snapshot: Snapshot, private: Path) -> Self:
        """Return the place of this process."""
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

    def why_not(self, agent: Place) -> str:
        """Return why an agent with place *agent* cannot fork for this one, or ""."""
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
        # The kernel removes the CPUs that are not in the cpuset.
        os.sched_setaffinity(0, range(MOST_CPUS))
        return os.sched_getaffinity(0)
    finally:
        os.sched_setaffinity(0, mask)


def _is_none(limit: str) -> bool:
    return limit.startswith(("max", "-1")) or (
        limit.isdigit() and int(limit) >= UNLIMITED
    )
