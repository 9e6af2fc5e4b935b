"""A stage whose ranks come over real connections, to the hub's own server."""

from __future__ import annotations

from typing import Any

from dask_runner.hub import handshake
from dask_runner.hub.server import Hub
from dask_runner.meeting.record import Record
from tests.unit.stage import PATIENCE, FakeRank, Stage

LOOPBACK = "127.0.0.1"


class Served(Stage):
    """A hub at a port, and the ranks that have connected to it."""

    def __init__(self, size: int, layout: str = "shared", **given: Any) -> None:
        super().__init__(size, layout, **given)
        self.hub = Hub(self.state, self.said, self.silence)
        self._ranks: list[FakeRank] = []

    async def open(self) -> None:
        await super().open()
        self.port = await self.hub.open(LOOPBACK)

    async def shut(self) -> None:
        await super().shut()
        await self.hub.shut()
        for rank in self._ranks:
            await rank.channel.closed()

    def record(self, key: str = "k") -> Record:
        """Return what others find the hub by."""
        secret = self.hub.secret.hex()
        return Record(key, "n", "c1", LOOPBACK, self.port, secret, "", "")

    async def connect(self) -> FakeRank:
        rank = FakeRank(await handshake.connect(self.record(), PATIENCE))
        self._ranks.append(rank)
        return rank
