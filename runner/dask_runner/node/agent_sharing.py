"""Whether a rank lends its agent, borrows one, or has none."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_runner.node import messages as n
from dask_runner.node import node_socket
from dask_runner.node.follower import ANSWER_SECONDS
from dask_runner.node.fork_context import Borrow
from dask_runner.wire.channel import open_channel
from dask_runner.wire.message import ProtocolError

if TYPE_CHECKING:
    from dask_runner.launch.launch import Launch
    from dask_runner.node.early_agent import EarlyAgent
    from dask_runner.node.follower import Beside
    from dask_runner.node.fork_context import ForkContext
    from dask_runner.node.packages import NodePackages
    from dask_runner.node.shared_agent import AgentProcess
    from dask_runner.wire.channel import Channel


@dataclass(frozen=True, slots=True)
class AgentSharing:
    """Whether this rank lends, borrows or has no agent.

    Attributes
    ----------
    leads : bool
        Whether others may share its agent.
    asks_at : str
        The name of the socket where it asks for the leader's agent; empty for none.
    agent : AgentProcess or None
        The leader's agent, in a rank for which the leader plays.
    scratch : str
        Where its directory is made; empty where the rank chooses.
    packages : NodePackages or None
        Those of the node, in a rank for which the leader plays.
    early : EarlyAgent or None
        The process that is to be its own agent; None for a fresh one.
    """

    leads: bool = False
    asks_at: str = ""
    agent: AgentProcess | None = None
    scratch: str = ""
    packages: NodePackages | None = None
    early: EarlyAgent | None = None

    @classmethod
    def of(cls, launch: Launch, beside: Beside) -> AgentSharing:
        """Return those of a rank that plays for itself."""
        if launch.settings.mpi_tasks or not node_socket.may_share(launch.world):
            return cls(early=beside.take_agent())
        if launch.world.local_rank == 0:
            leads = beside.listening is not None
            return cls(leads=leads, early=beside.take_agent())
        return cls(asks_at=beside.name)

    @property
    def have_agent(self) -> bool:
        """Whether the rank's workers may come from another rank's agent."""
        return self.agent is not None or bool(self.asks_at)


async def borrow(name: str, context: ForkContext) -> Channel | None:
    """Ask the leader for its agent.

    Parameters
    ----------
    name : str
        The name of the node's socket.
    context : ForkContext
        What the rank's workers need.

    Returns
    -------
    Channel or None
        The channel to the agent; None if there is no leader, or if it declines.
    """
    sock = await node_socket.connect(name)
    if sock is None:
        return None
    channel = await open_channel(sock)
    channel.send(Borrow(context))
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            if isinstance(await channel.receive(), n.Lent):
                return channel
    except (ProtocolError, TimeoutError):
        pass  # it is no leader, and talks nonsense, or it stands still
    channel.close()
    return None
