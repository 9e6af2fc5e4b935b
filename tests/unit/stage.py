"""A stage for plays: the state of a cluster, and ranks that speak to it in memory.

What the hub's server adds, connections, is in ``tests/local/hub``.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from dask_runner.hub import messages as m
from dask_runner.hub.cluster import Cluster as State
from dask_runner.hub.report import Reporter
from dask_runner.hub.requests import AskJoin
from dask_runner.launch import plan
from dask_runner.launch.settings import settle
from dask_runner.launch.world import World
from dask_runner.wire.message import Message, decode, encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from dask_runner.errors import RunnerError
    from dask_runner.hub.members import Node

PATIENCE = 5.0


class Said(Reporter):
    """Keeps what would have been printed."""

    def __init__(self) -> None:
        super().__init__(quiet=False)
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.errors: list[str] = []
        self.last: list[int] = []

    def ended(self, status: int, seconds: float) -> None:
        del seconds
        self.last.append(status)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def error(self, error: RunnerError | str) -> None:
        self.errors.append(str(error))


class Line:
    """A node's end of a connection that is made of nothing.

    What is sent is heard at once, by the state of the cluster; what that sends waits
    until the node receives it.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._node: Node | None = None
        self._open = True
        self._received: asyncio.Queue[Message | None] = asyncio.Queue()

    def send(self, message: Message) -> None:
        """Let the cluster hear it: the first message is how a node is connected."""
        message = decode(encode(message))
        if self._node is not None:
            self._state.hear(self._node, message)
            return
        hubs: Any = _HubsEnd(self._received)
        if isinstance(message, AskJoin):
            self._node = self._state.joins.admit(message, hubs)
            return
        assert isinstance(message, m.NodeHello)
        self._node = self._state.connect(message, hubs)

    async def receive(self) -> Message | None:
        return await self._received.get()

    def waiting(self) -> list[Message | None]:
        """Return what has been sent and not received."""
        return [self._received.get_nowait() for _ in range(self._received.qsize())]

    def close(self) -> None:
        if self._open and self._node is not None:
            self._state.gone(self._node, "no connection any more")
        self._open = False


class _HubsEnd:
    """The other end: all that a cluster does with a connection."""

    def __init__(self, sent: asyncio.Queue[Message | None]) -> None:
        self._sent = sent

    def send(self, message: Message) -> None:
        self._sent.put_nowait(decode(encode(message)))


#: What a node says, and not one of its ranks.
OF_NODES = (m.NodeHello, m.Told, m.Hello, m.OfRank, m.Gone, m.Absent, m.Bye, m.Ping)


class FakeNode:
    """A node as the hub sees it: a :class:`Line`, or a real connection."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel

    def say(self, message: Message) -> None:
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


class FakeRank(FakeNode):
    """A rank that is a node of its own."""

    def __init__(self, channel: Any, rank: int) -> None:
        super().__init__(channel)
        self.rank = rank

    def say(self, message: Message) -> None:
        of_node = isinstance(message, OF_NODES) or (
            isinstance(message, m.Signalled) and message.rank >= 0
        )
        super().say(message if of_node else m.OfRank(self.rank, message))

    async def hears(self, kind: type[Any]) -> Any:
        async with asyncio.timeout(PATIENCE):
            while (message := await self.channel.receive()) is not None:
                for_rank = self._for_rank(message)
                if isinstance(for_rank, kind):
                    return for_rank
        raise AssertionError(f"the hub hung up before {kind.__name__}")

    def _for_rank(self, message: Message) -> Message:
        match message:
            case m.OfRank(self.rank, of_rank):
                return of_rank
            case m.Starts() if self.rank in message.starting:
                return message.of(self.rank)
        return message


class Stage:
    """The state of a cluster and the ranks that have connected to it."""

    def __init__(
        self,
        size: int,
        layout: str,
        *,
        notices: bool = False,
        serves: bool = False,
        ends_in: float | None = None,
        told: dict[str, str] | None = None,
        **given: Any,
    ) -> None:
        self.said = Said()
        world = World("slurm", 0, size, None, None, "1", "slurm.1", "file")
        settings = settle({"timeout": PATIENCE, **given}, {})
        self.state = State(
            world,
            plan.make_plan(size, layout, serves=serves),
            settings,
            self.said,
            ends_at=None if ends_in is None else time.time() + ends_in,
            notices=notices,
            told=told,
        )
        self.silence = settings.silence

    async def open(self) -> None:
        self.finished = asyncio.create_task(self.state.finished())

    async def shut(self) -> None:
        self.finished.cancel()

    async def connect(self) -> Any:
        """Return a channel with the hub."""
        return Line(self.state)

    async def node(self, *ranks: m.Hello, name: str = "c1") -> FakeNode:
        node = FakeNode(await self.connect())
        for message in (m.NodeHello(name), *ranks):
            node.say(message)
        return node

    async def rank(self, number: int, node: str = "c1", **more: Any) -> FakeRank:
        hello = m.Hello(number, **{"local_size": 1, **more})
        return FakeRank((await self.node(hello, name=node)).channel, number)

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
    size: int, layout: str = "shared", kind: type[Stage] = Stage, **given: Any
) -> Callable[[Callable[[Any], Coroutine[Any, Any, None]]], None]:
    """Run a play with a cluster of so many ranks."""

    @asynccontextmanager
    async def staged() -> AsyncIterator[Stage]:
        stage = kind(size, layout, **given)
        await stage.open()
        try:
            yield stage
        finally:
            await stage.shut()

    def run(play: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            async with staged() as cluster:
                await play(cluster)

        asyncio.run(main())

    return run


async def ready(stage: Stage, size: int) -> list[FakeRank]:
    """Bring all ranks to the point where the client has begun."""
    ranks = await complete(stage, size)
    await ranks[0].hears(m.Ready)
    return ranks


async def complete(stage: Stage, size: int) -> list[FakeRank]:
    """Bring all ranks to the point where their workers are there."""
    ranks = await stage.ranks(*range(size))
    ranks[0].say(UP)
    for number, rank in enumerate(ranks):
        await rank.hears(m.Start)
        rank.say(workers(number))
    return ranks


async def all_leave(ranks: list[FakeRank]) -> None:
    await asyncio.gather(*(rank.leaves() for rank in ranks))
