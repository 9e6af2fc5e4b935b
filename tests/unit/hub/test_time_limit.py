"""A cluster ends in order before its job, and says why."""

from __future__ import annotations

import asyncio

import pytest

from dask_runner.hub import messages as m
from tests.unit.stage import Stage, all_leave, complete, playing, ready

#: Seconds within which a test's job would end.
SOON = 300


def test_the_script_gets_sigterm_that_many_seconds_before_the_end() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 2)
        assert (await ranks[0].hears(m.Signalled)).number == 15
        ranks[0].say(m.ClientEnded(0, ""))
        await all_leave(ranks)
        assert await stage.status() == 143
        assert "the job ends in 5 min: SIGTERM to the script" in stage.said.notes

    playing(2, ends_in=SOON, stop_before=SOON - 0.2)(play)


def test_the_script_has_the_time_that_was_reserved_for_it() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 1)
        await ranks[0].hears(m.Signalled)
        # Beyond its grace.
        await asyncio.sleep(0.5)
        assert stage.state.shared.ending.status is None
        await all_leave(ranks)
        assert await stage.status() == 143

    playing(1, grace=0.1, ends_in=11.5, stop_before=11.4)(play)


def test_a_script_is_not_told_where_nobody_asks_for_it() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 1)
        ranks[0].say(m.ClientEnded(0, ""))
        await all_leave(ranks)
        assert await stage.status() == 0
        assert not [note for note in stage.said.notes if "SIGTERM" in note]

    playing(1, ends_in=0.1)(play)


@pytest.mark.parametrize("asked", [{}, {"stop_before": SOON}])
def test_a_cluster_without_a_script_ends_before_its_job_by_itself(
    asked: dict[str, float],
) -> None:
    async def play(stage: Stage) -> None:
        ranks = await complete(stage, 2)
        await all_leave(ranks)
        assert await stage.status() == 0
        (why,) = [note for note in stage.said.notes if "the job ends" in note]
        assert why.endswith(": the cluster ends")

    playing(2, serves=True, ends_in=asked.get("stop_before", 9) + 0.5, **asked)(play)


@pytest.mark.parametrize(
    ("serves", "asked", "told"),
    [(False, {"stop_before": 60}, 1), (True, {"stop_before": 60}, 1), (True, {}, 0)],
)
def test_an_end_that_nothing_tells_is_said_to_those_who_ask_for_it(
    serves: bool, asked: dict[str, float], told: int
) -> None:
    async def play(stage: Stage) -> None:
        ranks = await complete(stage, 1)
        await stage.until(lambda: stage.said.notes)
        stage.state.close(0)
        await all_leave(ranks)
        notes = [note for note in stage.said.notes if "--stop-before" in note]
        assert len(notes) == told
        assert all("export DASKRUNNER_JOB_END_TIME=" in note for note in notes)

    playing(1, serves=serves, **asked)(play)


@pytest.mark.parametrize(("ends_in", "told"), [(-1, 1), (SOON, 0)])
def test_the_signal_of_a_job_whose_time_is_over_is_explained(
    ends_in: int, told: int
) -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 2)
        for rank in ranks:
            rank.say(m.Signalled(15))
        assert (await ranks[0].hears(m.Signalled)).number == 15
        ranks[0].say(m.ClientEnded(143, ""))
        await all_leave(ranks)
        assert await stage.status() == 143
        assert stage.said.notes.count("the job has reached its time limit") == told

    playing(2, ends_in=ends_in)(play)


# --- to be queued again ---------------------------------------------------------

#: The first is told in a moment.
AGAIN = {"ends_in": SOON, "requeue_before": SOON - 0.2}


@pytest.mark.parametrize(
    ("status", "again"), [(0, True), (143, True), (1, False), (137, False)]
)
def test_a_script_that_has_saved_its_work_is_queued_again_and_no_other(
    status: int, again: bool
) -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 2)
        assert (await ranks[0].hears(m.Signalled)).number == 15
        ranks[0].say(m.ClientEnded(status, ""))
        await all_leave(ranks)
        assert await stage.status() == (status or 143)
        told = "SIGTERM to the script; then the job is queued again"
        assert any(told in note for note in stage.said.notes)
        assert stage.state.queues_again == again

    playing(2, **AGAIN)(play)


def test_a_script_that_ignores_the_signal_is_queued_again_after_its_grace() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 2)
        await all_leave(ranks)
        assert await stage.status() == 143
        assert stage.state.queues_again

    playing(2, grace=0.2, **AGAIN)(play)


def test_a_script_that_ends_before_it_is_told_is_not_queued_again() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 1)
        ranks[0].say(m.ClientEnded(0, ""))
        await all_leave(ranks)
        assert await stage.status() == 0
        assert not stage.state.queues_again

    playing(1, ends_in=SOON, requeue_before=1)(play)


@pytest.mark.parametrize("by", ["signal", "owner"])
def test_who_ends_the_job_while_the_script_saves_wants_no_more_of_it(by: str) -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 2)
        await ranks[0].hears(m.Signalled)
        if by == "signal":
            ranks[1].say(m.Signalled(15))
        else:
            stage.state.shared.ending.stop("u on login")
            ranks[0].say(m.ClientEnded(0, ""))
        await all_leave(ranks)
        assert await stage.status() == 143
        assert not stage.state.queues_again

    playing(2, grace=60, **AGAIN)(play)


def test_the_time_limit_itself_does_not_keep_the_job_from_being_queued_again() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 2)
        await ranks[0].hears(m.Signalled)
        await asyncio.sleep(0.5)
        ranks[1].say(m.Signalled(15))
        await all_leave(ranks)
        assert await stage.status() == 143
        assert stage.state.queues_again

    playing(2, grace=60, ends_in=0.4, requeue_before=0.3)(play)


def test_a_cluster_without_a_script_is_queued_again_too() -> None:
    async def play(stage: Stage) -> None:
        ranks = await complete(stage, 2)
        await all_leave(ranks)
        assert await stage.status() == 0
        assert stage.state.queues_again

    playing(2, serves=True, **AGAIN)(play)
