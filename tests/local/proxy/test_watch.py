"""How the end of a cluster reaches the command that shows its dashboard."""

from __future__ import annotations

import asyncio

import pytest

from dask_runner.errors import ConfigError, LostError
from dask_runner.hub import messages as m
from dask_runner.proxy import watch
from dask_runner.proxy.watch import Watch
from tests.local.proxied import Proxied, playing
from tests.unit.stage import PATIENCE


async def told(watching: asyncio.Task[int]) -> int:
    async with asyncio.timeout(PATIENCE):
        return await watching


def test_a_cluster_that_ends_is_told_by_a_page_until_all_have_left() -> None:
    async def play(there: Proxied) -> None:
        watching = asyncio.create_task(Watch(there.cluster).ended())
        leaving = asyncio.create_task(there.rank.leaves())
        await there.fetch("/echo")
        there.rank.say(m.ClientEnded(0, ""))
        await there.stage.until(lambda: there.cluster.instead)

        got = await there.fetch("/status")
        assert got.code == 410
        assert b"lab has ended" in got.body
        await leaving
        await there.stage.hub.shut()
        assert await told(watching) == 0

    playing(play)


def test_a_hub_that_is_gone_is_lost() -> None:
    async def play(there: Proxied) -> None:
        watching = asyncio.create_task(Watch(there.cluster).ended())
        await there.fetch("/echo")
        await there.stage.hub.shut()

        with pytest.raises(LostError, match="'lab' is lost: nothing listens there"):
            await told(watching)

    playing(play)


def test_a_hub_that_says_nothing_is_lost_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch, "OUTSIDE_SILENCE_SECONDS", 0.5)
    monkeypatch.setattr(watch, "RUNNING_SECONDS", 0.1)

    async def play(there: Proxied) -> None:
        async def never(*_: object) -> None:
            await asyncio.Event().wait()

        watching = asyncio.create_task(Watch(there.cluster).ended())
        await there.fetch("/echo")
        there.stage.state.answers.answer = never  # type: ignore[method-assign]

        with pytest.raises(LostError, match="no answer within"):
            async with asyncio.timeout(4 * PATIENCE):
                await watching

    playing(play)


def test_a_cluster_without_a_dashboard_is_refused_once_it_is_ready() -> None:
    async def play(there: Proxied) -> None:
        with pytest.raises(ConfigError, match="'lab' has no dashboard") as found:
            await told(asyncio.create_task(Watch(there.cluster).ended()))
        assert found.value.status == 78

    playing(play, dashboard=False)


def test_one_that_is_not_ready_is_waited_for() -> None:
    async def play(there: Proxied) -> None:
        watching = asyncio.create_task(Watch(there.cluster).ended())
        await asyncio.wait({watching}, timeout=2 * watch.STARTING_SECONDS)
        assert not watching.done()
        watching.cancel()

    playing(play, complete=False, dashboard=False)
