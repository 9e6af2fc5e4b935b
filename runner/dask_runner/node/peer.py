"""The processes that work for a rank, as its top process speaks to them.

Their messages and their ends become events of the rank. A socket pair connects a child
(:mod:`dask_runner.node.child`); the leader of the node passes on what concerns its
agent (:mod:`dask_runner.node.shared_agent`).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from dask_runner.hub.messages import Bye
from dask_runner.node.exits import Ended
from dask_runner.wire.channel import open_channel
from dask_runner.wire.message import Message, ProtocolError

if TYPE_CHECKING:
    import socket

    from dask_runner.node.events import Event, Source
    from dask_runner.wire.channel import Channel


class Peer(ABC):
    """A process that works for a rank.

    Parameters
    ----------
    name : Source
        Its name in the events.
    events : asyncio.Queue
        Gets ``(name, message)`` for each message.
    """

    def __init__(self, name: Source, events: asyncio.Queue[Event]) -> None:
        self.name = name
        self._events = events
        self._over = asyncio.Event()
        self._work_over = asyncio.Event()
        #: The process ID; 0 for another rank's, or before the process exists.
        self.pid = 0
        #: Why it is about to be killed.
        self.why = ""

    @property
    @abstractmethod
    def running(self) -> bool:
        """Whether the process was started and has not ended."""

    @abstractmethod
    def send(self, message: Message) -> None:
        """Send a message to the process."""

    @abstractmethod
    def kill(self) -> None:
        """End the process, or its work for this rank."""

    def signal(self, number: int) -> None:
        """Send a signal to the process, if it is a child."""
        del number

    def hear(self, message: Message) -> None:
        """Handle a message of the process."""
        if isinstance(message, Bye):
            self._work_over.set()
        else:
            self._events.put_nowait((self.name, message))

    def _has_ended(self) -> None:
        self._work_over.set()
        self._over.set()

    async def finish(self, patience: float, ask: Message) -> None:
        """Ask the process to end its work but to stay; kill it after *patience*."""
        if not self.running or self._work_over.is_set():
            return
        self.send(ask)
        try:
            async with asyncio.timeout(patience):
                await self._work_over.wait()
        except TimeoutError:
            self.kill()
            await self._over.wait()

    async def stop(self, patience: float, *, ask: Message | None) -> None:
        """Ask the process to end; kill it after *patience*."""
        if not self.running:
            return
        if ask is not None:
            self.send(ask)
        await self.wait(patience)

    async def wait(self, patience: float) -> None:
        """Wait until the process has ended; kill it after *patience*."""
        if not self.running:
            return
        try:
            async with asyncio.timeout(patience):
                await self._over.wait()
        except TimeoutError:
            self.kill()
            await self._over.wait()


class SocketPeer(Peer):
    """A process at the other end of a socket.

    The end of the connection is an event as well: ``(name, Ended)``.
    """

    def __init__(self, name: Source, events: asyncio.Queue[Event]) -> None:
        super().__init__(name, events)
        self._channel: Channel | None = None

    async def attach(self, sock: socket.socket) -> None:
        """Use a connected socket for messages to the process."""
        self.use(await open_channel(sock))

    def use(self, channel: Channel) -> None:
        """Use a channel for messages to the process."""
        self._channel = channel
        listening = self._listen(channel)
        self._listening = asyncio.create_task(listening, name=f"listen to {self.name}")

    async def _listen(self, channel: Channel) -> None:
        try:
            while (message := await channel.receive()) is not None:
                self.hear(message)
        except ProtocolError:
            # It sent garbage over its lifeline, so it cannot be used.
            self.kill()
        ended = await self._wait()
        channel.close()
        self._has_ended()
        if ended is not None:
            self._tell(ended)

    def _tell(self, ended: Ended) -> None:
        self._events.put_nowait((self.name, ended))

    async def _wait(self) -> Ended | None:
        """Return how the process ended; None if it never began."""
        return Ended(0, self.why, known=False)

    @property
    def running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._channel is not None and not self._over.is_set()

    def send(self, message: Message) -> None:
        """Send a message to the process."""
        if self._channel is not None:
            self._channel.send(message)

    def kill(self) -> None:
        """Close the connection, which makes the process end."""
        if self._channel is not None:
            self._channel.close()
