"""A stream to a cluster's dashboard, over the hub."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

from tornado.iostream import IOStream, StreamClosedError

from dask_runner.errors import RunnerError
from dask_runner.hub.ask import SilentError, answer, asking
from dask_runner.hub.requests import AskDashboard, Connected
from dask_runner.wire.splice import PIECE, splice, until_one_ends

if TYPE_CHECKING:
    from dask_runner.meeting.record import Record


class Streams:
    """Opens streams, and carries what goes through them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, record: Record) -> IOStream:
        """Return a stream to the HTTP server of a cluster's scheduler.

        Raises
        ------
        SilentError
            If the hub does not answer.
        RunnerError
            If it denies that.
        """
        near, far = socket.socketpair()
        near.setblocking(False)
        far.setblocking(False)
        connected = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(_over_the_hub(record, far, connected))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await connected
        except BaseException:
            task.cancel()
            near.close()
            raise
        return IOStream(near)

    async def close(self) -> None:
        """End all."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _over_the_hub(
    record: Record, far: socket.socket, connected: asyncio.Future[None]
) -> None:
    with far:
        try:
            async with asking(record, AskDashboard()) as channel:
                await answer(channel, Connected)
                if connected.cancelled():
                    return
                reader, writer = await asyncio.open_connection(sock=far)
                connected.set_result(None)
                await splice(channel, reader, writer)
        except (SilentError, RunnerError) as error:
            if not connected.done():
                connected.set_exception(error)
        except asyncio.CancelledError:
            if not connected.done():
                why = SilentError("the command that shows it ends", gone=False)
                connected.set_exception(why)
            raise


async def carry(one: IOStream, other: IOStream) -> None:
    """Carry bytes between two streams until either ends; then close both."""

    def close() -> None:
        one.close()
        other.close()

    await until_one_ends(_way(one, other), _way(other, one), close=close)


async def _way(source: IOStream, goal: IOStream) -> None:
    with contextlib.suppress(StreamClosedError):
        while True:
            await goal.write(await source.read_bytes(PIECE, partial=True))
