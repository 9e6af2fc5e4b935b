"""A rank's connection with the hub: what is said over it, and signs of life."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from dask_runner.hub import messages as m
from dask_runner.hub.messages import ProtocolError
from dask_runner.hub.server import between_pings
from dask_runner.node.events import Source
from dask_runner.node.exits import Ended

if TYPE_CHECKING:
    from collections.abc import Callable

    from dask_runner.errors import RunnerError
    from dask_runner.hub.channel import Channel
    from dask_runner.node.events import Event


class Uplink:
    """The connection of one rank.

    Parameters
    ----------
    channel : Channel
        To the hub, which knows the rank by its Hello.
    events : asyncio.Queue
        Gets ``(Source.link, message)`` for each message and ``(Source.link,
        Ended)`` once.
    silence : float
        Seconds without a sign of life after which the hub counts as gone.

    Attributes
    ----------
    silent : bool
        Whether the hub is gone by its silence.
    """

    def __init__(
        self, channel: Channel, events: asyncio.Queue[Event], silence: float
    ) -> None:
        self._channel = channel
        self._events = events
        self._silence = silence
        self._heard = False
        self.silent = False

    @property
    def host(self) -> str:
        """The address of this end, by which the hub's node reaches this one."""
        return self._channel.local_host

    def say(self, message: m.Message) -> None:
        """Send a message."""
        self._channel.send(message)

    def fail(self, error: RunnerError) -> None:
        """Say that the rank cannot do its part."""
        self.say(m.Failed(error.saw, error.needed, error.do, error.status))

    async def listen(self) -> None:
        """Turn what the hub says into events."""
        try:
            while (message := await self._channel.receive()) is not None:
                self._heard = True
                await self._events.put((Source.link, message))
        except ProtocolError:
            # Sealed by the hub, so a bug or another version: as good as gone.
            self._channel.close()
        await self._events.put((Source.link, Ended(0)))

    async def beat(self, look_around: Callable[[float], None]) -> None:
        """Give and expect signs of life, and look around at each.

        Silence is counted in beats and not by the clock, which goes on where the
        whole job is suspended (scontrol suspend).

        Parameters
        ----------
        look_around : callable
            Is called with the seconds between two beats.
        """
        silent, every = 0.0, between_pings(self._silence)
        while not self.silent:
            self.say(m.Ping())
            self._heard = False
            await asyncio.sleep(every)
            look_around(every)
            silent = 0.0 if self._heard else silent + every
            self.silent = silent > self._silence
        self.close()

    def close(self) -> None:
        """Close it."""
        self._channel.close()

    async def closed(self) -> None:
        """Close it, and wait until what was said has left."""
        await self._channel.closed()
