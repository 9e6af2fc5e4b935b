"""Carry plain bytes between a channel and another stream, both ways."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dask_runner.wire.channel import Channel

#: Bytes that are carried at a time.
PIECE = 1 << 16


async def splice(
    channel: Channel, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Carry bytes until either side ends; then close both.

    Neither side can go on without the other: HTTP's last byte is the end of the
    connection.
    """
    ways = {
        asyncio.create_task(_to_stream(channel, writer)),
        asyncio.create_task(_to_channel(reader, channel)),
    }
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        # Before any wait, which may be the last that this task does.
        writer.close()
        # One that ended by a lost connection says so here, and that is the end anyway.
        await asyncio.gather(*ways, return_exceptions=True)
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        await channel.closed()


async def _to_stream(channel: Channel, writer: asyncio.StreamWriter) -> None:
    while piece := await channel.receive_bytes(PIECE):
        writer.write(piece)
        await writer.drain()


async def _to_channel(reader: asyncio.StreamReader, channel: Channel) -> None:
    while piece := await reader.read(PIECE):
        await channel.send_bytes(piece)
