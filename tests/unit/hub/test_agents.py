"""Ranks that lose their agent: the reason is that of the rank whose agent it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_runner.hub import agents
from dask_runner.hub import messages as m
from tests.unit.stage import UP, FakeRank, Stage, all_leave, playing, workers

if TYPE_CHECKING:
    import pytest

KILLED = m.AgentGone("was killed by SIGKILL", own=True)
BORROWED = m.AgentGone("is gone", own=False)


async def node_of_two(stage: Stage) -> list[FakeRank]:
    """Bring rank 0 of a node, and ranks 1 and 2 of another with one agent."""
    shared = {"local_size": 2, "home": "h"}
    return [
        await stage.rank(0, "c1"),
        await stage.rank(1, "c2", leads=True, **shared),
        await stage.rank(2, "c2", local_rank=1, **shared),
    ]


async def running(stage: Stage) -> list[FakeRank]:
    ranks = await node_of_two(stage)
    ranks[0].say(UP)
    for number, rank in enumerate(ranks):
        await rank.hears(m.Start)
        rank.say(workers(number))
    await ranks[0].hears(m.Ready)
    return ranks


def test_the_leaders_reason_is_told_of_all_though_another_is_heard_first() -> None:
    async def play(stage: Stage) -> None:
        ranks = await running(stage)
        ranks[2].say(BORROWED)
        ranks[1].say(KILLED)
        await stage.until(lambda: stage.said.warnings)
        assert stage.said.warnings == [
            "lost ranks 1, 2 on c2: its node agent was killed by SIGKILL"
        ]
        ranks[0].say(m.ClientEnded(0, ""))
        await all_leave(ranks)
        assert await stage.status() == 0

    playing(3)(play)


def test_what_a_leader_fails_of_ends_a_cluster_that_has_not_begun() -> None:
    async def play(stage: Stage) -> None:
        ranks = await node_of_two(stage)
        ranks[2].say(BORROWED)
        await stage.until(lambda: len(stage.state.members) == 3)
        ranks[1].say(m.Failed("no semaphores", "some", "make some", 78))
        await all_leave(ranks)
        assert await stage.status() == 78
        (error,) = stage.said.errors
        assert error.startswith("rank 1 on c2: no semaphores")
        assert "you can: make some" in error

    playing(3)(play)


def test_a_leader_that_is_lost_is_the_reason() -> None:
    async def play(stage: Stage) -> None:
        ranks = await running(stage)
        ranks[2].say(BORROWED)
        ranks[1].channel.close()
        await stage.until(lambda: len(stage.said.warnings) == 2)
        told = "\n".join(stage.said.warnings)
        assert "lost rank 1 on c2: no connection any more" in told
        assert "lost rank 2 on c2: rank 1 on c2, which leads its node, was lost" in told

    playing(3)(play)


def test_a_leader_that_says_nothing_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(agents, "REASON_SECONDS", 0.1)

    async def play(stage: Stage) -> None:
        ranks = await running(stage)
        ranks[2].say(BORROWED)
        await stage.until(lambda: stage.said.warnings)
        assert (
            "the rank that leads the node reports no reason" in stage.said.warnings[0]
        )

    playing(3)(play)


def test_rank_0_goes_on_with_the_others_workers_when_its_agent_is_killed() -> None:
    async def play(stage: Stage) -> None:
        ranks = await running(stage)
        ranks[0].say(KILLED)
        await stage.until(lambda: stage.said.warnings)
        assert not stage.said.errors
        ranks[0].say(m.ClientEnded(0, ""))
        await all_leave(ranks)
        assert await stage.status() == 0

    playing(3)(play)
