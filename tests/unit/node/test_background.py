"""Tasks beside the events: failures are events, and none is left."""

from __future__ import annotations

import asyncio
from typing import Any

from dask_runner.node.background import Crashed, Tasks
from dask_runner.node.events import Source


def test_a_task_that_fails_is_an_event() -> None:
    mistake = ZeroDivisionError("ours")

    async def fails() -> None:
        raise mistake

    async def play() -> tuple[str, Crashed]:
        events: asyncio.Queue[Any] = asyncio.Queue()
        Tasks(events).start(fails())
        async with asyncio.timeout(5):
            return await events.get()

    assert asyncio.run(play()) == (Source.task, Crashed(mistake))


def test_tasks_that_are_cancelled_have_ended_and_are_no_event() -> None:
    ended = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    async def play() -> bool:
        events: asyncio.Queue[Any] = asyncio.Queue()
        tasks = Tasks(events)
        tasks.start(waits())
        await asyncio.sleep(0)
        await tasks.cancel()
        return events.empty()

    assert asyncio.run(play())
    assert ended == [True]
