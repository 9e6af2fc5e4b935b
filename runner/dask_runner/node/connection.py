"""A node's connection to the hub: the messages of its ranks, and signs of life.

A node has one connection, for all the ranks for which its leader plays. It exists once
the leader has found the hub, and ranks join it one by one.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_runner.hub import messages as m
from dask_runner.hub.pings import between_pings
from dask_runner.node.events import Source
from dask_runner.node.exits import Ended
from dask_runner.node.usage import NodeUsage
from dask_runner.wire.message import Message, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

    from dask_runner.node.events import Event
    from dask_runner.wire.channel import Channel


@dataclass(frozen=True, slots=True)
class _Rank:
    events: asyncio.Queue[Event]
    look_around: Callable[[float], None]


class Connection:
    """The connection of one node.

    Parameters
    ----------
    channel : Channel
        The channel to the hub.
    silence : float
        Seconds without a sign of life after which the hub counts as lost.

    Attributes
    ----------
    silent : bool
        Whether the hub is lost because it gave no sign of life.
    usage : NodeUsage
        Measures what the node's ranks use.
    """

    def __init__(self, channel: Channel, silence: float) -> None:
        self._channel = channel
        self._silence = silence
        self._ranks: dict[int, _Rank] = {}
        self._staying: set[int] = set()
        self._unsent: list[Message] = []
        self._heard = False
        self._finished = False
        self._ended = False
        self.silent = False
        self.usage = NodeUsage(self.say)

    @property
    def host(self) -> str:
        """The address of this end, by which the hub's host reaches this one."""
        return self._channel.local_host

    # --- what is said -------------------------------------------------------

    def say(self, message: Message) -> None:
        """Send a message, in one packet with others of the same moment."""
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._send)
        self._unsent.append(message)

    def _send(self) -> None:
        unsent, self._unsent = self._unsent, []
        if unsent:
            self._channel.send(*unsent)

    def join(
        self,
        hello: m.Hello,
        events: asyncio.Queue[Event],
        look_around: Callable[[float], None],
    ) -> None:
        """Join a rank to the hub.

        Parameters
        ----------
        hello : Hello
        events : asyncio.Queue
            Gets ``(Source.link, message)`` for each message to the rank, and
            ``(Source.link, Ended)`` at the end.
        look_around : callable
            Is called with each sign of life, with the seconds between two.
        """
        if self._ended:
            events.put_nowait((Source.link, Ended(0)))
            return
        self._ranks[hello.rank] = _Rank(events, look_around)
        self._staying.add(hello.rank)
        self.say(hello)

    def say_of(self, rank: int, message: Message) -> None:
        """Send a rank's message, unless the rank is lost."""
        if rank in self._ranks:
            self.say(m.OfRank(rank, message))

    def bye(self, rank: int) -> None:
        """Note that a rank has stopped; tell the hub when all have."""
        self._staying.discard(rank)
        if not self._staying:
            self.usage.end()
            self.say(m.Bye())

    def lose(self, rank: int, why: str) -> None:
        """Tell the hub that a rank is lost, unless the cluster has ended."""
        if self._ranks.pop(rank, None) is None or self._finished:
            return
        self.say(m.Gone(rank, why))
        if rank in self._staying:
            self.bye(rank)

    # --- what is heard ------------------------------------------------------

    async def listen(self) -> None:
        """Put the hub's messages into the ranks' queues, until the connection ends."""
        try:
            while (message := await self._channel.receive()) is not None:
                self._heard = True
                self._pass_on(message)
        except ProtocolError:
            # It is from the hub, so it is a bug or another version: the hub is lost.
            self._channel.close()
        finally:
            self._end()

    def _pass_on(self, message: Message) -> None:
        match message:
            case m.OfRank(rank, of_rank) if rank in self._ranks:
                self._tell(rank, of_rank)
            case m.Starts():
                for rank in self._ranks.keys() & set(message.starting):
                    self._tell(rank, message.of(rank))
            case m.Refused(rank) if rank in self._ranks:
                self._tell(rank, message)
                del self._ranks[rank]
                self._staying.discard(rank)
            case m.Close() | m.Finish():
                self._finished = isinstance(message, m.Finish)
                if isinstance(message, m.Close):
                    self.usage.close()
                for rank in self._ranks:
                    self._tell(rank, message)

    def _tell(self, rank: int, what: object) -> None:
        self._ranks[rank].events.put_nowait((Source.link, what))

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            for rank in self._ranks:
                self._tell(rank, Ended(0))

    async def beat(self) -> None:
        """Send signs of life and expect the hub's; look around with each.

        Silence is counted in signs of life and not by the clock, which goes on while
        the whole job is suspended (scontrol suspend).
        """
        silent, every = 0.0, between_pings(self._silence)
        while not self.silent:
            self.say(m.Ping())
            self._heard = False
            await asyncio.sleep(every)
            for rank in list(self._ranks.values()):
                rank.look_around(every)
            silent = 0.0 if self._heard else silent + every
            self.silent = silent > self._silence
        self._channel.abort()

    # --- the end ------------------------------------------------------------

    async def closed(self) -> None:
        """Close the connection, and wait until all messages are sent."""
        self._end()
        self._send()
        await self._channel.closed()


def lost_hub(rank: int, node: str, hub: str) -> str:
    """Return the error of a rank whose connection has ended before the cluster."""
    return f"rank {rank} on {node} lost the hub ({hub})"
