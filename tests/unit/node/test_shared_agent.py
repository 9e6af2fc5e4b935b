"""One agent that works for several ranks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import pytest

from dask_runner.hub import messages as m
from dask_runner.node.directory import RankDirectory
from dask_runner.node.events import Event, Source
from dask_runner.node.exits import Ended
from dask_runner.node.shared_agent import AgentProcess, SharedAgent

if TYPE_CHECKING:
    from pathlib import Path

    from dask_runner.wire.message import Message

FAILED = m.Failed("no semaphores", "some", "make some", 78)
DOWN = m.WorkerDown("2", "was killed by SIGKILL")


class Line:
    """The lifeline of an agent that only listens, until it is told to end."""

    def __init__(self) -> None:
        self.said: list[Message] = []
        self.to_say: asyncio.Queue[Message | None] = asyncio.Queue()

    def send(self, message: Message) -> None:
        self.said.append(message)

    async def receive(self) -> Message | None:
        return await self.to_say.get()

    def close(self) -> None:
        self.to_say.put_nowait(None)


class Stage:
    """An agent, its own rank, and rank 2, which shares it."""

    def __init__(self, directory: Path) -> None:
        self.own: asyncio.Queue[Event] = asyncio.Queue()
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.line = Line()
        self.agent = Known(self.own, RankDirectory(str(directory), {}))
        self.agent.use(self.line)  # type: ignore[arg-type]

    def share(self) -> SharedAgent:
        return SharedAgent(2, self.agent, self.events)

    async def says(self, *messages: Message | None) -> None:
        for message in messages:
            self.line.to_say.put_nowait(message)
        for _ in range(2 * len(messages) + 4):
            await asyncio.sleep(0)


Acts = Callable[[Stage], Coroutine[Any, Any, None]]
Play = Callable[[Acts], None]


class Known(AgentProcess):
    """An agent whose end is known."""

    async def _wait(self) -> Ended | None:
        return Ended(-9)


def got(events: asyncio.Queue[Event]) -> list[Any]:
    return [events.get_nowait()[1] for _ in range(events.qsize())]


@pytest.fixture
def play(
    tmp_path: Path,
) -> Callable[[Callable[[Stage], Coroutine[Any, Any, None]]], None]:
    def run(acts: Acts) -> None:
        async def main() -> None:
            async with asyncio.timeout(5):
                stage = Stage(tmp_path)
                await stage.says()  # from now on it is listened to
                await acts(stage)

        asyncio.run(main())

    return run


def test_each_rank_hears_of_its_own_workers(play: Play) -> None:
    async def acts(stage: Stage) -> None:
        stage.share()
        note = m.Note("careful")
        await stage.says(m.OfRank(2, DOWN), note, m.OfRank(7, DOWN))
        assert got(stage.events) == [DOWN]
        assert got(stage.own) == [note]

    play(acts)


def test_what_a_rank_says_has_its_number(play: Play) -> None:
    async def acts(stage: Stage) -> None:
        stage.share().send(m.Close(0))
        assert stage.line.said == [m.OfRank(2, m.Close(0))]

    play(acts)


def test_its_work_is_over_before_the_agent_has_left_it(play: Play) -> None:
    async def acts(stage: Stage) -> None:
        shared = stage.share()
        finish = asyncio.create_task(shared.finish(60, m.Close(0)))
        await stage.says(m.OfRank(2, m.Bye()))
        await finish
        assert shared.running
        stop = asyncio.create_task(shared.stop(60, ask=m.Close(0)))
        await stage.says(m.OfRank(2, m.Bye()))
        await stop
        assert not shared.running
        assert got(stage.events) == []
        assert stage.line.said == [m.OfRank(2, m.Close(0))] * 2

    play(acts)


def test_an_agent_that_does_not_end_the_work_in_time_is_told_that_the_rank_is_gone(
    play: Play,
) -> None:
    async def acts(stage: Stage) -> None:
        shared = stage.share()
        await shared.stop(0.0, ask=m.Close(0))
        assert not shared.running
        (close, gone) = stage.line.said
        assert close == m.OfRank(2, m.Close(0))
        assert isinstance(gone, m.OfRank)
        assert isinstance(gone.message, m.Gone)

    play(acts)


def test_all_ranks_learn_how_their_agent_ended(play: Play) -> None:
    async def acts(stage: Stage) -> None:
        shared = stage.share()
        waits = asyncio.create_task(shared.finish(60, m.Close(0)))
        await stage.says(None)
        await waits
        assert not shared.running
        assert got(stage.events) == [m.AgentGone("was killed by SIGKILL")]
        assert got(stage.own) == [Ended(-9)]

    play(acts)


def test_an_agent_that_cannot_begin_has_failed_all_ranks(play: Play) -> None:
    async def acts(stage: Stage) -> None:
        stage.share()
        await stage.says(FAILED)
        late: list[Message] = []
        stage.agent.share(3, late.append)
        assert got(stage.events) == got(stage.own) == late == [FAILED]

    play(acts)


def test_a_worker_of_the_agents_own_rank_that_fails_is_that_ranks(play: Play) -> None:
    async def acts(stage: Stage) -> None:
        stage.share()
        await stage.says(m.Ping(), FAILED)
        assert got(stage.own) == [m.Ping(), FAILED]
        assert got(stage.events) == []
        assert Source.agent == stage.agent.name

    play(acts)
