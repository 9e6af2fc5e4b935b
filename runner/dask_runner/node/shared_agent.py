"""The agent of a node's leader, which forks the workers of other ranks as well.

Only the leader's processes speak to the agent, over its lifeline. What concerns the
workers of another rank travels there in an ``OfRank``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner.hub import messages as m
from dask_runner.node.child import Process
from dask_runner.node.events import Source
from dask_runner.node.peer import Peer

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from dask_runner.node.directory import RankDirectory
    from dask_runner.node.early_agent import EarlyAgent
    from dask_runner.node.events import Event
    from dask_runner.node.exits import Ended
    from dask_runner.wire.message import Message

    Hear = Callable[[Message], None]

#: Why the agent that a leader lends is gone, where nobody says more.
WITH_ITS_LEADER = "with the rank that leads the node"


class AgentProcess(Process):
    """The agent, as the rank that starts it sees it.

    Parameters
    ----------
    events : asyncio.Queue
        Gets its messages and its end.
    directory : RankDirectory
        Has its log.
    """

    def __init__(self, events: asyncio.Queue[Event], directory: RankDirectory) -> None:
        super().__init__(Source.agent, events)
        self._directory = directory
        self._sharing: dict[int, Hear] = {}
        self._lives = False
        self._failed: m.Failed | None = None
        self._early: EarlyAgent | None = None

    async def adopt(self, early: EarlyAgent) -> None:
        """Take a process for the agent that was forked before."""
        self._early = early
        await self.take(early.pid, early.lifeline)

    def share(self, rank: int, hear: Hear) -> None:
        """Have *hear* called with each message about a rank's workers.

        The last one is ``AgentGone``, if the agent ends before the rank.
        """
        self._sharing[rank] = hear
        if self._failed is not None:
            hear(self._failed)

    def give_back(self, rank: int) -> None:
        """End the agent's work for a rank, if it has not ended."""
        if self._sharing.pop(rank, None) is not None:
            self.say_of(rank, m.Gone(rank, "it needs the agent no more"))

    def say_of(self, rank: int, message: Message) -> None:
        """Send a message of a rank that shares the agent."""
        self.send(m.OfRank(rank, message))

    def hear(self, message: Message) -> None:
        """Handle a message, or pass it on to the rank that it concerns."""
        match message:
            case m.OfRank(rank, of_rank):
                if hear := self._sharing.get(rank):
                    hear(of_rank)
                return
            case m.Ping():
                self._lives = True
            case m.Failed() if not self._lives:
                # The agent itself has failed, and no worker of its rank.
                self._failed = message
                self._tell_all(message)
        super().hear(message)

    def _tell(self, ended: Ended) -> None:
        if self._early is not None and not self._lives:
            self._early.keep(Path(self._directory.log("agent")))
        super()._tell(ended)
        self._tell_all(m.AgentGone(f"{ended}{self._directory.tail('agent')}"))
        self._sharing.clear()

    def _tell_all(self, message: Message) -> None:
        for hear in tuple(self._sharing.values()):
            hear(message)


class SharedAgent(Peer):
    """The agent, as a rank sees it for which the agent's leader plays.

    Parameters
    ----------
    rank : int
    agent : AgentProcess
        The leader's.
    events : asyncio.Queue
        Gets ``(Source.agent, message)`` for each message about the rank's workers.
    """

    def __init__(
        self, rank: int, agent: AgentProcess, events: asyncio.Queue[Event]
    ) -> None:
        super().__init__(Source.agent, events)
        self._rank = rank
        self._agent = agent
        agent.share(rank, self.hear)

    @property
    def running(self) -> bool:
        """Whether the agent works for the rank."""
        return not self._over.is_set()

    def send(self, message: Message) -> None:
        """Send a message about the rank's workers."""
        self._agent.say_of(self._rank, message)

    def hear(self, message: Message) -> None:
        """Handle a message about the rank's workers."""
        if isinstance(message, m.AgentGone) or (
            isinstance(message, m.Bye) and self._work_over.is_set()
        ):
            self._has_ended()
        super().hear(message)

    def kill(self) -> None:
        """End the rank's workers at once."""
        self._agent.give_back(self._rank)
        self._has_ended()
