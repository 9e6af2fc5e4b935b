"""Rank 0's server, to which all ranks stay connected.

Who proves to know the record's secret is a rank and is heard by the
:class:`~dask_runner.hub.cluster.Cluster`, which decides. All others are refused.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING

from dask_runner.hub import messages as m
from dask_runner.hub.listener import Door
from dask_runner.hub.messages import ProtocolError

if TYPE_CHECKING:
    from dask_runner.hub.channel import Channel
    from dask_runner.hub.cluster import Cluster
    from dask_runner.hub.report import Reporter

#: Seconds between signs of life, each way, at most; and how many there are at least
#: in the time of silence after which the other side counts as lost.
PING = 5.0
PINGS = 6
#: Seconds of silence, if nobody asks for others (``--silence``).
SILENCE = 30.0
#: Seconds within which a rank that got in says who it is.
HELLO = 10.0


def between_pings(silence: float) -> float:
    """Return the seconds between signs of life for a time of silence."""
    return min(PING, silence / PINGS)


class Hub:
    """The server.

    Parameters
    ----------
    cluster : Cluster
        Hears what the ranks say.
    report : Reporter
        Prints for the user.
    silence : float
        Seconds without a sign of life after which a rank counts as lost.
    """

    def __init__(self, cluster: Cluster, report: Reporter, silence: float) -> None:
        self.secret = secrets.token_bytes(32)
        self._cluster = cluster
        self._report = report
        self._silence = silence
        self._door = Door(self.secret, self._serve, self._refuse, cluster.size)
        self._stranger_seen = False
        self._silent: set[int] = set()

    async def open(self, host: str) -> int:
        """Listen on *host*; return the port that the system chose."""
        port = await self._door.open(host)
        self._listening = asyncio.create_task(self._listen_for_silence())
        return port

    def _refuse(self, address: str, why: str) -> None:
        if not self._stranger_seen:
            self._stranger_seen = True
            self._report.warn(f"refused a connection from {address}: {why}")

    async def _serve(self, channel: Channel, address: str) -> None:
        try:
            async with asyncio.timeout(HELLO):
                hello = _hello(await channel.receive())
        except TimeoutError:
            self._refuse(address, "no Hello came")
            return
        except ProtocolError as error:
            self._refuse(address, str(error))
            return
        member = self._cluster.join(hello, channel)
        if member is None:
            return
        why = "no connection any more"
        try:
            while (message := await channel.receive()) is not None:
                self._cluster.hear(member, message)
        except (ProtocolError, KeyError) as error:
            why = f"it sent {error}"
        channel.close()
        if member.rank in self._silent:
            why = f"no sign of life for {self._silence:g} s"
        self._cluster.gone(member, why)

    async def _listen_for_silence(self) -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(between_pings(self._silence))
            now = time.monotonic()
            for member in self._cluster.members:
                member.channel.send(m.Ping())
                if now - began > self._silence / 2:
                    # We were stopped ourselves (scontrol suspend, a virtual machine
                    # that moves): what they said meanwhile has yet to be read.
                    member.heard = now
                elif member.heard < now - self._silence:
                    self._silent.add(member.rank)
                    member.channel.abort()

    async def shut(self) -> None:
        """Close the server and every connection."""
        self._listening.cancel()
        for member in self._cluster.members:
            member.channel.close()
        await self._door.shut()


def _hello(message: m.Message | None) -> m.Hello:
    if not isinstance(message, m.Hello):
        raise ProtocolError(f"{message} where Hello was due")
    return message
