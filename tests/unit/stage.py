"""A stage for plays: a hub, and ranks that speak the real protocol over loopback."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from dask_runner.hub import handshake
from dask_runner.hub import messages as m
from dask_runner.hub.cluster import Cluster as State
from dask_runner.hub.report import Reporter
from dask_runner.hub.server import Hub
from dask_runner.launch import plan
from dask_runner.launch.settings import settle
from dask_runner.launch.world import World
from dask_runner.meeting.record import Record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from dask_runner.errors import RunnerError
    from dask_runner.hub.channel import Channel

LOOPBACK = "127.0.0.1"
PATIENCE = 5.0


class Said(Reporter):
    """Keeps what would have been printed."""

    def __init__(self) -> None:
        super().__init__(quiet=False)
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.errors: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def error(self, error: RunnerError | str) -> None:
        self.errors.append(str(error))


class FakeRank:
    """A rank as the hub sees it."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel

    def say(self, message: m.Message) -> None:
        self.channel.send(message)

    async def hears(self, kind: type[Any]) -> Any:
        """Return the next message of a kind; fail if the end comes first."""
        async with asyncio.timeout(PATIENCE):
            while (message := await self.channel.receive()) is not None:
                if isinstance(message, kind):
                    return message
        raise AssertionError(f"the hub hung up before {kind.__name__}")

    async def leaves(self) -> None:
        """Say bye when told to close, and hang up at the end."""
        await self.hears(m.Close)
        self.say(m.Bye())
        await self.hears(m.Finish)
        self.channel.close()


class Stage:
    """A hub and the ranks that have connected to it."""

    def __init__(
        self, size: int, layout: str, *, words: bool = False, **given: Any
    ) -> None:
        self.said = Said()
        world = World("slurm", 0, size, None, None, "1", "slurm.1", "file")
        settings = settle({"timeout": PATIENCE, **given}, {})
        self.state = State(
            world, plan.make_plan(size, layout), settings, self.said, words=words
        )
        self.hub = Hub(self.state, self.said, settings.silence)
        self.port = 0
        self._ranks: list[FakeRank] = []

    async def open(self) -> None:
        self.port = await self.hub.open(LOOPBACK)
        self.finished = asyncio.create_task(self.state.finished())

    async def shut(self) -> None:
        self.finished.cancel()
        await self.hub.shut()
        for rank in self._ranks:
            await rank.channel.closed()

    async def connect(self) -> FakeRank:
        record = Record(
            "k", "n", "c1", LOOPBACK, self.port, self.hub.secret.hex(), "", ""
        )
        rank = FakeRank(await handshake.connect(record, PATIENCE))
        self._ranks.append(rank)
        return rank

    async def rank(self, number: int, node: str = "c1", **more: Any) -> FakeRank:
        rank = await self.connect()
        rank.say(m.Hello(number, node, **{"local_size": 1, **more}))
        return rank

    async def ranks(self, *numbers: int) -> list[FakeRank]:
        return [await self.rank(number) for number in numbers]

    async def status(self) -> int:
        async with asyncio.timeout(PATIENCE + 3):
            return await asyncio.shield(self.finished)

    async def until(self, reached: Callable[[], object]) -> None:
        """Wait until something that the hub does without telling has happened."""
        async with asyncio.timeout(PATIENCE):
            while not reached():  # noqa: ASYNC110  it tells nobody
                await asyncio.sleep(0.01)


UP = m.SchedulerUp("tcp://127.0.0.1:1", "/tmp/x/dashboard")


def workers(rank: int) -> m.WorkersUp:
    return m.WorkersUp([str(rank)], 2, 2**30)


def playing(
    size: int, layout: str = "shared", **given: Any
) -> Callable[[Callable[[Stage], Coroutine[Any, Any, None]]], None]:
    """Run a play with a cluster of so many ranks."""

    @asynccontextmanager
    async def staged() -> AsyncIterator[Stage]:
        stage = Stage(size, layout, **given)
        await stage.open()
        try:
            yield stage
        finally:
            await stage.shut()

    def run(play: Callable[[Stage], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            async with staged() as cluster:
                await play(cluster)

        asyncio.run(main())

    return run


async def ready(stage: Stage, size: int) -> list[FakeRank]:
    """Bring all ranks to the point where the client has begun."""
    ranks = await stage.ranks(*range(size))
    ranks[0].say(UP)
    for number, rank in enumerate(ranks):
        await rank.hears(m.Start)
        rank.say(workers(number))
    await ranks[0].hears(m.Ready)
    return ranks


async def all_leave(ranks: list[FakeRank]) -> None:
    await asyncio.gather(*(rank.leaves() for rank in ranks))
