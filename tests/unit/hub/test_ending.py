"""How a cluster ends, and with which status."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dask_runner.errors import SignalledError
from dask_runner.hub import ending
from dask_runner.hub import messages as m
from tests.unit.records import NOTICE
from tests.unit.stage import (
    UP,
    Stage,
    all_leave,
    playing,
    ready,
    workers,
)

# --- signals ----------------------------------------------------------------


def test_a_signal_to_every_rank_reaches_the_client_once() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 3)
        for rank in ranks:
            rank.say(m.Signalled(15))
        assert (await ranks[0].hears(m.Signalled)).number == 15
        ranks[0].say(m.ClientEnded(143, ""))
        ended = await ranks[0].hears(m.Close)
        assert ended.status == 143
        ranks[0].say(m.Bye())

    playing(3)(play)


def test_a_client_that_ignores_a_signal_is_closed_after_its_grace() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 2)
        ranks[1].say(m.Signalled(15))
        await ranks[0].hears(m.Signalled)
        await all_leave(ranks)
        assert await stage.status() == 143

    playing(2, grace=0.2)(play)


def test_a_second_ctrl_c_ends_at_once() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 2)
        ranks[0].say(m.Signalled(2))
        await ranks[0].hears(m.Signalled)
        ranks[0].say(m.Signalled(2))
        await all_leave(ranks)
        assert await stage.status() == 130

    playing(2, grace=60)(play)


def test_a_signal_before_ready_ends_at_once() -> None:
    async def play(stage: Stage) -> None:
        ranks = await stage.ranks(0, 1)
        ranks[1].say(m.Signalled(15))
        await all_leave(ranks)
        assert await stage.status() == 143

    playing(3, timeout=60)(play)


def test_a_script_that_handles_a_signal_decides_on_the_status() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 1)
        ranks[0].say(m.Signalled(15))
        await ranks[0].hears(m.Signalled)
        ranks[0].say(m.ClientEnded(3, ""))
        await all_leave(ranks)
        assert await stage.status() == 3

    playing(1)(play)


# --- the end ----------------------------------------------------------------


def test_the_last_line_comes_after_what_the_workers_have_printed() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 2)
        ranks[0].say(m.ClientEnded(0, ""))
        for rank in ranks:
            await rank.hears(m.Close)
            assert not stage.said.last
            rank.say(m.Bye())
        await stage.until(lambda: stage.said.last)
        assert stage.said.last == [0]

    playing(2)(play)


def test_the_last_line_waits_for_no_rank_that_stands_still(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ending, "OUTPUT_SECONDS", 0.1)

    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 2)
        ranks[0].say(m.ClientEnded(0, ""))
        await ranks[0].hears(m.Close)
        ranks[0].say(m.Bye())
        await stage.until(lambda: stage.said.last)

    playing(2)(play)


def test_a_rank_that_comes_after_the_end_learns_it() -> None:
    async def play(stage: Stage) -> None:
        (zero,) = await stage.ranks(0)
        zero.say(m.Failed("a wrong option", "", "", 78))
        await zero.hears(m.Close)
        zero.say(m.Bye())
        (late,) = await stage.ranks(1)
        assert (await late.hears(m.Close)).status == 78
        late.say(m.Bye())
        await zero.hears(m.Finish)
        await late.hears(m.Finish)
        zero.channel.close()
        late.channel.close()
        assert await stage.status() == 78

    playing(2)(play)


@pytest.mark.parametrize("notices", [False, True])
def test_a_rank_that_comes_after_a_signal_learns_it_if_it_comes_soon(
    notices: bool,
) -> None:
    async def play(stage: Stage) -> None:
        ranks = await stage.ranks(0)
        ranks[0].say(m.Signalled(15))
        await ranks[0].hears(m.Close)
        if notices:
            late = await stage.rank(1)
            assert (await late.hears(m.Close)).status == 143
            late.say(m.Bye())
            ranks.append(late)
        ranks[0].say(m.Bye())
        for rank in ranks:
            await rank.hears(m.Finish)
            rank.channel.close()
        assert await stage.status() == 143
        assert stage.said.notes == [
            "rank 0 on c1 got SIGTERM before the cluster was ready"
        ]
        assert not stage.said.errors

    playing(2, timeout=60, notices=notices)(play)


def test_a_rank_that_comes_too_late_is_not_awaited_if_it_finds_a_notice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ending, "LATE_SECONDS", 0.1)

    async def play(stage: Stage) -> None:
        (zero,) = await stage.ranks(0)
        zero.say(m.Failed("a wrong option", "", "", 78))
        await zero.leaves()
        assert await stage.status() == 78
        assert stage.state.may_come
        assert stage.state.cause is not None
        assert (stage.state.cause.status, stage.state.arrived) == (78, {0})

    playing(2, timeout=60, notices=True)(play)


def test_no_notice_is_left_of_a_script_that_has_begun() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 2)
        ranks[0].say(m.ClientEnded(3, ""))
        await all_leave(ranks)
        assert await stage.status() == 3
        assert stage.state.cause is None

    playing(2, notices=True)(play)


# --- notices of ranks that cannot come ----------------------------------------


@pytest.mark.parametrize("said", [True, False])
def test_the_notice_of_a_rank_that_cannot_come_ends_all_and_is_said_once(
    said: bool,
) -> None:
    async def play(stage: Stage) -> None:
        ranks = await stage.ranks(0, 1)
        stage.state.read(replace(NOTICE, said=said), [2])
        await all_leave(ranks)
        assert await stage.status() == NOTICE.status
        told = "no scratch\n  needed: a directory\n  you can: name one"
        assert stage.said.errors == ([] if said else [told])

    playing(3, timeout=60, notices=True)(play)


def test_who_has_signed_a_notice_is_not_awaited() -> None:
    async def play(stage: Stage) -> None:
        ranks = await stage.ranks(0, 1)
        stage.state.read(NOTICE, [2, 3])
        await all_leave(ranks)
        assert await stage.status() == NOTICE.status
        assert not stage.state.may_come

    playing(4, timeout=60, notices=True)(play)


def test_a_rank_that_was_signalled_before_it_came_is_not_awaited_but_may_come() -> None:
    async def play(stage: Stage) -> None:
        ranks = await stage.ranks(0)
        ranks[0].say(m.Signalled(15, 1))
        assert (await ranks[0].hears(m.Close)).status == 143
        assert not stage.state.may_come
        ranks += await stage.ranks(1)
        assert (await ranks[1].hears(m.Close)).status == 143
        for rank in ranks:
            rank.say(m.Bye())
        for rank in ranks:
            await rank.hears(m.Finish)
            rank.channel.close()
        assert await stage.status() == 143
        assert not stage.said.warnings

    playing(2, timeout=60)(play)


def test_the_notice_of_a_rank_that_came_all_the_same_ends_nothing() -> None:
    async def play(stage: Stage) -> None:
        ranks = await stage.ranks(0, 1, 2)
        await stage.until(lambda: stage.state.assembled)
        stage.state.read(NOTICE, [2])
        ranks[0].say(UP)
        for number, rank in enumerate(ranks):
            await rank.hears(m.Start)
            rank.say(workers(number))
        await ranks[0].hears(m.Ready)

    playing(3, notices=True)(play)


def test_rank_0_that_is_signalled_before_it_is_connected_ends_those_that_are() -> None:
    async def play(stage: Stage) -> None:
        ranks = await stage.ranks(1, 2)
        stage.state.signalled(SignalledError("rank 0 on c1", 15, "too early"), [0])
        await all_leave(ranks)
        assert await stage.status() == 143
        assert stage.said.notes == ["rank 0 on c1 got SIGTERM too early"]

    playing(3, timeout=60)(play)


def test_the_first_reason_to_end_decides() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 2)
        ranks[0].say(m.ClientEnded(0, ""))
        await ranks[0].hears(m.Close)
        ranks[0].say(m.Failed("the scheduler was killed", "", "", 69))
        ranks[0].say(m.Bye())
        ranks[1].channel.close()
        await ranks[0].hears(m.Finish)
        ranks[0].channel.close()
        assert await stage.status() == 0
        assert not stage.said.errors

    playing(2)(play)


def test_ranks_that_do_not_say_bye_are_not_awaited_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ending, "STOP_SECONDS", 0.1)
    monkeypatch.setattr(ending, "LEAVE_SECONDS", 0.1)

    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 2)
        ranks[0].say(m.ClientEnded(0, ""))
        assert await stage.status() == 0

    playing(2, grace=0.1)(play)


def test_a_client_that_shuts_the_cluster_down_goes_on_alone() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 2)
        ranks[0].say(m.SchedulerClosed())
        ranks[0].say(m.ClientEnded(0, ""))
        await all_leave(ranks)
        assert await stage.status() == 0
        assert not stage.said.errors

    playing(2)(play)
