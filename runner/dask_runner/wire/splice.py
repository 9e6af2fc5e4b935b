"""Carry plain bytes between a channel and another stream, both ways."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

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
    there, back = _to_stream(channel, writer), _to_channel(reader, channel)
    try:
        await until_one_ends(there, back, close=writer.close)
    finally:
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        await channel.closed()


async def until_one_ends(
    *ways: Coroutine[Any, Any, None], close: Callable[[], None]
) -> None:
    """Carry bytes the given ways, until one of them ends; then close all."""
    tasks = {asyncio.create_task(way) for way in ways}
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        # Before any wait, which may be the last that this task does.
        close()
        # One that ended by a lost connection says so here, and that is the end anyway.
        await asyncio.gather(*tasks, return_exceptions=True)


async def _to_stream(channel: Channel, writer: asyncio.StreamWriter) -> None:
    while piece := await channel.receive_bytes(PIECE):
        writer.write(piece)
        await writer.drain()


async def _to_channel(reader: asyncio.StreamReader, channel: Channel) -> None:
    while piece := await reader.read(PIECE):
        await channel.send_bytes(piece)
