"""Rank 0's server, to which all ranks stay connected.

Who proves to know the record's secret is a rank and is heard by the
:class:`~dask_runner.cluster.Cluster`, which decides. All others are refused.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import closing
from typing import TYPE_CHECKING

from dask_runner import link
from dask_runner import messages as m
from dask_runner.messages import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from dask_runner.cluster import Cluster
    from dask_runner.report import Reporter

#: Seconds between signs of life, each way.
PING = 5.0
#: Seconds of silence after which the other side counts as lost.
SILENCE = 30.0
#: Strangers' connections answered at once; the rest wait in the kernel's queue.
STRANGERS = 64
#: Connections that may wait in that queue (net.core.somaxconn's usual value).
BACKLOG = 4096


class Hub:
    """The server.

    Parameters
    ----------
    cluster : Cluster
        Hears what the ranks say.
    report : Reporter
        Prints for the user.
    """

    def __init__(self, cluster: Cluster, report: Reporter) -> None:
        self.secret = secrets.token_bytes(32)
        self._cluster = cluster
        self._report = report
        self._tasks: set[asyncio.Task[None]] = set()
        self._strangers = asyncio.Semaphore(STRANGERS)
        self._stranger_seen = False

    async def open(self, host: str) -> int:
        """Listen on *host*; return the port that the system chose."""
        self._server = await asyncio.start_server(
            self._accept, host, 0, backlog=BACKLOG
        )
        self._spawn(self._listen_for_silence())
        return int(self._server.sockets[0].getsockname()[1])

    async def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._spawn(self._hold(reader, writer))

    async def _hold(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with closing(writer):  # also where `shut` ends a handshake
            await self._serve(reader, writer)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        peer = writer.get_extra_info("peername")
        try:
            async with self._strangers:
                channel = await link.accept(reader, writer, self.secret)
            hello = _hello(await channel.receive())
        except (link.StrangerError, ProtocolError) as error:
            if not self._stranger_seen:
                self._stranger_seen = True
                self._report.warn(f"refused a connection from {peer[0]}: {error}")
            return
        member = self._cluster.join(hello, channel)
        if member is None:
            return
        why = "its connection closed"
        try:
            while (message := await channel.receive()) is not None:
                self._cluster.hear(member, message)
        except (ProtocolError, KeyError) as error:
            why = f"it sent {error}"
        writer.close()
        self._cluster.gone(member, why)

    async def _listen_for_silence(self) -> None:
        while True:
            await asyncio.sleep(PING)
            limit = time.monotonic() - SILENCE
            for member in self._cluster.members:
                member.channel.send(m.Ping())
                if member.heard < limit:
                    self._report.warn(f"{member.name} was silent for {SILENCE:g} s")
                    member.channel.close()

    async def shut(self) -> None:
        """Close the server and every connection."""
        self._server.close()
        for member in self._cluster.members:
            member.channel.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _hello(message: m.Message | None) -> m.Hello:
    if not isinstance(message, m.Hello):
        raise ProtocolError(f"{message} where Hello was due")
    return message
