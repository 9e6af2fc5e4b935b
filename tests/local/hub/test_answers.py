"""What the hub answers to processes outside the launch, over real connections."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dask_runner.errors import RunnerError
from dask_runner.hub import ask as asking
from dask_runner.hub import messages as m
from dask_runner.hub import requests as r
from dask_runner.hub.ask import SilentError, ask
from tests.local.served import Served, silent_port
from tests.unit.stage import PATIENCE, all_leave, playing, ready, workers

if TYPE_CHECKING:
    from pathlib import Path


async def state(stage: Served) -> r.State:
    return await ask(stage.record(), r.AskState(), r.State)


async def serving(stage: Served) -> list[asyncio.Task[None]]:
    """Bring all ranks up, and have rank 0 answer for its scheduler."""
    ranks = await ready(stage, stage.state.size)

    async def scheduler() -> None:
        while True:
            await ranks[0].hears(m.AskActivity)
            ranks[0].say(m.Activity(3, 12.5))

    return [asyncio.create_task(scheduler())]


def test_the_state_of_a_cluster_is_told() -> None:
    async def play(stage: Served) -> None:
        first = asyncio.create_task(state(stage))
        assert await first == r.State(
            ready=False,
            ending=False,
            serves=False,
            ranks=2,
            workers=0,
            nthreads=0,
            memory=0,
            capacity=0,
            least=1,
            spare=0,
            age=first.result().age,
            ends_at=0.0,
            address="",
            dashboard=False,
            clients=-1,
            idle=-1.0,
        )
        (task,) = await serving(stage)
        later = await state(stage)
        assert (later.ready, later.workers, later.capacity) == (True, 2, 2)
        assert (later.clients, later.idle, later.dashboard) == (3, 12.5, True)
        assert later.age > first.result().age
        task.cancel()

    playing(2, kind=Served)(play)


def test_many_ask_at_a_time() -> None:
    async def play(stage: Served) -> None:
        (task,) = await serving(stage)
        states = await asyncio.gather(*(state(stage) for _ in range(20)))
        assert {one.clients for one in states} == {3}
        task.cancel()

    playing(2, kind=Served)(play)


def test_stop_ends_a_script_by_sigterm_and_answers_when_all_have_left() -> None:
    async def play(stage: Served) -> None:
        ranks = await ready(stage, 2)
        record = stage.record()
        async with asking.asking(record, r.AskStop("u on login")) as channel:
            await asking.answer(channel, r.Stopping)
            assert (await ranks[0].hears(m.Signalled)).number == 15
            ranks[0].say(m.ClientEnded(143, ""))
            await all_leave(ranks)
            assert await stage.status() == 143
            await stage.hub.shut()
            async with asyncio.timeout(PATIENCE):
                assert await channel.receive() is None
        assert "stopped by u on login" in stage.said.notes

    playing(2, kind=Served)(play)


def test_stop_before_the_cluster_is_ready_ends_it_too() -> None:
    async def play(stage: Served) -> None:
        ranks = await stage.ranks(0, 1)
        await ask(stage.record(), r.AskStop("u on login"), r.Stopping)
        await all_leave(ranks)
        assert await stage.status() == 143
        assert stage.said.errors == []

    playing(2, kind=Served)(play)


def test_who_attends_is_told_of_the_end() -> None:
    async def play(stage: Served) -> None:
        async with asking.asking(stage.record(), r.Attend()) as channel:
            assert not (await asking.answer(channel, r.State)).ready
            stage.state.close(69)
            assert await asking.last_word(channel) == r.WillEnd(69)

    playing(2, kind=Served)(play)


def test_who_attends_and_leaves_costs_nothing() -> None:
    async def play(stage: Served) -> None:
        async with asking.asking(stage.record(), r.Attend()) as channel:
            await asking.answer(channel, r.State)
        ranks = await ready(stage, 2)
        ranks[0].say(m.ClientEnded(0, ""))
        await all_leave(ranks)
        assert await stage.status() == 0
        assert stage.said.warnings == stage.said.errors == []

    playing(2, kind=Served)(play)


def test_the_dashboard_is_reached_through_the_hub(tmp_path: Path) -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readline()).upper() * 50_000)
        await writer.drain()
        writer.close()

    async def play(stage: Served) -> None:
        path = str(tmp_path / "d")
        async with await asyncio.start_unix_server(shout, path):
            (rank,) = await stage.ranks(0)
            rank.say(m.SchedulerUp("tls://10.1.0.1:8786", path))
            await rank.hears(m.Start)
            rank.say(workers(0))
            await rank.hears(m.Ready)
            async with asking.asking(stage.record(), r.AskDashboard()) as channel:
                await asking.answer(channel, r.Connected)
                await channel.send_bytes(b"hello\n")
                told = b""
                while piece := await channel.receive_bytes(1 << 16):
                    told += piece
            assert told == b"HELLO\n" * 50_000

    playing(1, kind=Served)(play)


@pytest.mark.parametrize(
    ("dashboard", "status", "saw"),
    [
        ("", 78, "has no dashboard"),
        ("/nowhere/d", 69, "No such file"),
        ("https://10.1.0.1:8787", 78, "a certificate of its own"),
    ],
)
def test_a_dashboard_that_is_not_there_is_told(
    dashboard: str, status: int, saw: str
) -> None:
    async def play(stage: Served) -> None:
        (rank,) = await stage.ranks(0)
        rank.say(m.SchedulerUp("tls://10.1.0.1:8786", dashboard))
        await rank.hears(m.Start)
        rank.say(workers(0))
        await rank.hears(m.Ready)
        with pytest.raises(RunnerError) as error:
            await ask(stage.record(), r.AskDashboard(), r.Connected)
        assert error.value.status == status
        assert saw in error.value.saw

    playing(1, kind=Served)(play)


def test_before_the_cluster_is_ready_its_dashboard_is_not_there_yet() -> None:
    async def play(stage: Served) -> None:
        async def denied() -> None:
            with pytest.raises(RunnerError, match="is starting") as error:
                await ask(stage.record(), r.AskDashboard(), r.Connected)
            assert error.value.status == 69

        await denied()
        (rank,) = await stage.ranks(0)
        rank.say(m.SchedulerUp("tls://10.1.0.1:8786", "/nowhere/d"))
        await rank.hears(m.Start)
        await denied()

    playing(1, kind=Served)(play)


def test_a_request_of_another_version_is_denied_with_the_reason() -> None:
    async def play(stage: Served) -> None:
        with pytest.raises(RunnerError, match="a request of version 99") as error:
            await ask(stage.record(), r.AskState(version=99), r.State)
        assert error.value.status == 78

    playing(1, kind=Served)(play)


def test_a_hub_that_is_gone_is_told_from_one_that_is_silent() -> None:
    async def play(stage: Served) -> None:
        record = stage.record()
        await stage.hub.shut()
        with pytest.raises(SilentError) as error:
            await ask(record, r.AskState(), r.State)
        assert error.value.gone

        async with silent_port(stage.port):
            with pytest.raises(SilentError) as error:
                await ask(record, r.AskState(), r.State, 0.2)
            assert not error.value.gone

    playing(1, kind=Served)(play)


def test_a_hub_at_the_loopback_of_another_machine_is_not_taken_for_gone() -> None:
    async def play(stage: Served) -> None:
        record = replace(stage.record(), node="c1")
        assert (await ask(record, r.AskState(), r.State)).ranks == 1
        await stage.hub.shut()
        with pytest.raises(SilentError, match="is the loopback of c1 alone") as error:
            await ask(record, r.AskState(), r.State)
        assert not error.value.gone
        told = asking.silent("lab", record, 3.0, error.value)
        assert "run this on c1 (in a container: docker exec)" in told.do

    playing(1, kind=Served)(play)


def test_a_hub_that_lets_in_and_says_nothing_is_silent_too() -> None:
    async def play(stage: Served) -> None:
        await stage.rank(0)  # whose scheduler does not say what it does
        with pytest.raises(SilentError, match=r"no answer within 0\.2 s"):
            await ask(stage.record(), r.AskState(), r.State, 0.2)

    playing(1, kind=Served)(play)


def test_what_is_no_message_after_a_request_ends_the_connection_alone() -> None:
    async def play(stage: Served) -> None:
        async with asking.asking(stage.record(), r.Attend()) as channel:
            await asking.answer(channel, r.State)
            await channel.send_bytes(b"\xff" * 8)
            async with asyncio.timeout(PATIENCE):
                assert await asking.last_word(channel) is None
        assert not (await state(stage)).ending

    playing(1, kind=Served)(play)
