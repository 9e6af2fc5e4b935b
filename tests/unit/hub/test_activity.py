"""What the scheduler says of its work, asked by way of its rank."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from dask_runner.hub import activity
from dask_runner.hub import messages as m
from dask_runner.hub.activity import UNKNOWN, Activity
from tests.unit.stage import Stage, playing

if TYPE_CHECKING:
    import pytest


def of(stage: Stage) -> Activity:
    return stage.state._activity  # noqa: SLF001  it is told by way of the cluster


def test_all_who_ask_at_a_time_get_one_answer() -> None:
    async def play(stage: Stage) -> None:
        zero = await stage.rank(0)
        asked = [asyncio.create_task(of(stage).now()) for _ in range(3)]
        await zero.hears(m.AskActivity)
        zero.say(m.Activity(2, 0.0))
        assert await asyncio.gather(*asked) == [m.Activity(2, 0.0)] * 3
        assert zero.channel.waiting() == []

    playing(2)(play)


def test_who_asks_later_gets_an_answer_of_then() -> None:
    async def play(stage: Stage) -> None:
        zero = await stage.rank(0)
        for clients in (1, 2):
            asked = asyncio.create_task(of(stage).now())
            await zero.hears(m.AskActivity)
            zero.say(m.Activity(clients, 1.0))
            assert await asked == m.Activity(clients, 1.0)

    playing(2)(play)


def test_a_scheduler_that_does_not_answer_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(activity, "SECONDS", 0.05)

    async def play(stage: Stage) -> None:
        assert await of(stage).now() == UNKNOWN  # rank 0 has not joined
        zero = await stage.rank(0)
        assert await of(stage).now() == UNKNOWN
        await zero.hears(m.AskActivity)
        asked = asyncio.create_task(of(stage).now())
        await asyncio.sleep(0)
        zero.say(m.Activity(1, 0.0))  # late, and of use to those who ask now
        assert await asked == m.Activity(1, 0.0)
        zero.say(m.Activity(9, 0.0))  # to nobody

    playing(2)(play)
