"""A cluster that has nobody left to work ends; one whose workers come back does not."""

from __future__ import annotations

import asyncio

import pytest

from dask_runner.hub import messages as m
from tests.unit.stage import Stage, all_leave, playing, ready

#: Seconds for which the plays' clusters wait for a worker.
PATIENCE = 1.0


async def goes_on(stage: Stage) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2 * PATIENCE):
            await asyncio.shield(stage.finished)
    assert not stage.said.errors


def test_workers_that_do_not_come_back_end_the_cluster_with_the_last_reason() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 2)
        for number, rank in enumerate(ranks):
            rank.say(m.WorkerDied(str(number), "was killed by SIGKILL"))
        ranks[1].say(m.WorkerDown("1", "did not start: no space", "space", "make some"))
        await all_leave(ranks)
        assert await stage.status() == 69
        (error,) = stage.said.errors
        assert "worker 1 of rank 1 on c1 did not start: no space" in error
        assert "needed: space" in error
        assert "you can: make some" in error
        assert len(stage.said.warnings) == 2

    playing(2, timeout=PATIENCE)(play)


def test_one_worker_that_is_there_is_enough() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 2)
        ranks[1].say(m.WorkerDied("1", "was killed by SIGKILL"))
        await goes_on(stage)

    playing(2, timeout=PATIENCE)(play)


def test_a_worker_that_comes_back_is_enough() -> None:
    async def play(stage: Stage) -> None:
        (rank,) = await ready(stage, 1)
        rank.say(m.WorkerDied("0", "was killed by SIGKILL"))
        rank.say(m.WorkerBack("0"))
        await goes_on(stage)

    playing(1, timeout=PATIENCE)(play)


def test_workers_that_the_script_has_sent_away_are_not_missed() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 2)
        for number, rank in enumerate(ranks):
            rank.say(m.WorkerLeft(str(number)))
        await goes_on(stage)

    playing(2, timeout=PATIENCE)(play)


def test_a_worker_that_was_sent_away_is_nobody_to_wait_for() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 2)
        ranks[0].say(m.WorkerLeft("0"))
        ranks[1].say(m.WorkerDown("1", "was killed by SIGSEGV"))
        await all_leave(ranks)
        assert await stage.status() == 69
        assert "worker 1 of rank 1 on c1 was killed by SIGSEGV" in stage.said.errors[0]

    playing(2, timeout=PATIENCE)(play)


def test_a_lost_rank_leaves_only_who_does_not_come_back() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 2)
        ranks[0].say(m.WorkerDown("0", "was killed by SIGSEGV"))
        await stage.until(lambda: True)
        ranks[1].channel.close()
        await all_leave(ranks[:1])
        assert await stage.status() == 69
        assert "worker 0 of rank 0" in stage.said.errors[0]

    playing(2, timeout=PATIENCE)(play)
