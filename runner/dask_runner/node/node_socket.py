"""The local socket of a node, at which its ranks find the leader.

It is an abstract socket (unix(7)), which needs no directory and leaves no file; every
process in the node's network namespace can see it. Its name is known before a rank has
read much (:func:`dask_runner.node.follower.meeting_place`), or else by the launch's
key. Followers come there, and ranks that play for themselves and want to share the
leader's agent.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from typing import TYPE_CHECKING, Any

from dask_runner.linux import peer
from dask_runner.node.follower import claim, has_own_user

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dask_runner.launch.world import World
    from dask_runner.node.follower import Beside

#: Seconds until the leader accepts a connection. A hundred ranks of a node may connect
#: at once.
CONNECT_SECONDS = 10.0
#: Seconds between tries while the leader's queue of connections is full.
RETRY_SECONDS = 0.02


def may_share(world: World) -> bool:
    """Return whether ranks of the same node can find each other.

    Without a key of this launch alone, ranks of two clusters could meet; without a user
    ID of this user alone, strangers could connect.
    """
    found = bool(world.key) and world.local_rank is not None and world.local_size != 1
    return found and has_own_user()


def name_of(world: World) -> str:
    """Return the name of the node's socket, where it is not known at a glance."""
    digest = hashlib.sha256(world.key.encode(errors="surrogateescape")).hexdigest()
    return f"dask-runner-{os.geteuid()}-{digest[:32]}"


def claim_late(beside: Beside, world: World) -> None:
    """Name the node's socket by the World, if it has no name yet; open it to lead."""
    if beside.name or not may_share(world):
        return
    beside.name = name_of(world)
    if world.local_rank == 0:
        beside.listening = claim(beside.name)


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
    """Connect to the leader.

    Returns
    -------
    socket or None
        None if there is no leader, if it is another user's, or if it accepts no
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
