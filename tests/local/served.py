"""A stage whose ranks come over real connections, to the hub's own server."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from dask_runner.hub.server import Hub
from dask_runner.meeting.record import Record
from dask_runner.wire import mutual_tls
from tests.unit.stage import PATIENCE, Stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dask_runner.wire.channel import Channel

LOOPBACK = "127.0.0.1"
#: The node of all that listens there.
HERE = socket.gethostname()


class Served(Stage):
    """A hub at a port, and the ranks that have connected to it."""

    def __init__(self, size: int, layout: str = "shared", **given: Any) -> None:
        super().__init__(size, layout, **given)
        self.hub = Hub(self.state, self.said, self.silence)
        self._channels: list[Channel] = []

    async def open(self) -> None:
        await super().open()
        self.port = await self.hub.listen(LOOPBACK)

    async def shut(self) -> None:
        await super().shut()
        await self.hub.shut()
        for channel in self._channels:
            await channel.closed()

    def record(self, key: str = "k") -> Record:
        """Return what others find the hub by."""
        material = self.hub.certificate, self.hub.key
        return Record(key, "n", HERE, LOOPBACK, self.port, *material)

    async def connect(self) -> Channel:
        channel = await mutual_tls.connect(self.record(), PATIENCE)
        self._channels.append(channel)
        return channel


@asynccontextmanager
async def silent_port(port: int = 0) -> AsyncIterator[int]:
    """Listen at a port where nothing is ever said; yield its number."""
    held: list[asyncio.StreamWriter] = []

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)
        await reader.read()

    async with await asyncio.start_server(hold, LOOPBACK, port) as server:
        yield server.sockets[0].getsockname()[1]
        # From Python 3.12 on, the server waits for its connections.
        for writer in held:
            writer.close()
            await writer.wait_closed()
