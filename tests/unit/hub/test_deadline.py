"""What is not there in time: the end, or a place for spare ranks."""

from __future__ import annotations

from dask_runner.hub import messages as m
from tests.unit.stage import UP, Stage, all_leave, playing, workers

SOON = 0.3


def test_a_rank_that_never_arrives_is_replaced_at_the_deadline() -> None:
    async def play(stage: Stage) -> None:
        zero, two = await stage.rank(0, "c0"), await stage.rank(2, "c2")
        zero.say(UP)
        for rank in (zero, two):
            await rank.hears(m.Start)
            rank.say(workers(rank.rank))
        await zero.hears(m.Ready)
        assert stage.said.warnings == ["rank 1 did not arrive in time"]
        # It comes after all, and waits in its turn.
        one = await stage.rank(1, "c1")
        await one.hears(m.Waits)
        two.channel.close()
        await one.hears(m.Start)

    playing(3, spare=1, timeout=SOON)(play)


def test_a_rank_whose_workers_are_late_is_replaced_at_the_deadline() -> None:
    async def play(stage: Stage) -> None:
        ranks = [await stage.rank(number, f"c{number}") for number in range(3)]
        ranks[0].say(UP)
        await ranks[1].hears(m.Start)
        ranks[0].say(workers(0))
        await ranks[2].hears(m.Start)
        ranks[2].say(workers(2))
        await ranks[0].hears(m.Ready)
        await stage.until(lambda: stage.said.warnings)
        (warning,) = stage.said.warnings
        assert (
            warning == f"lost rank 1 on c1: its workers did not come up within {SOON} s"
        )

    playing(3, spare=1, timeout=SOON)(play)


def test_more_ranks_that_never_arrive_than_spare_nodes_end_the_cluster() -> None:
    async def play(stage: Stage) -> None:
        ranks = [await stage.rank(0, "c0"), await stage.rank(3, "c3")]
        ranks[0].say(UP)
        await all_leave(ranks)
        assert await stage.status() == 75
        assert stage.said.errors[0].startswith("ranks 1, 2 of 4 did not arrive within")

    playing(4, spare=1, timeout=SOON)(play)


def test_the_spare_rank_that_takes_a_place_at_the_deadline_has_one_too() -> None:
    async def play(stage: Stage) -> None:
        ranks = [await stage.rank(0, "c0"), await stage.rank(2, "c2")]
        ranks[0].say(UP)
        ranks[0].say(workers(0))
        await ranks[1].hears(m.Start)
        await all_leave(ranks)
        assert await stage.status() == 75
        assert "rank 2 on c2" in stage.said.errors[0]

    playing(3, spare=1, timeout=SOON)(play)


def test_a_client_that_never_arrives_is_not_replaced() -> None:
    async def play(stage: Stage) -> None:
        ranks = [await stage.rank(rank, f"c{rank}") for rank in (0, 2, 3)]
        ranks[0].say(UP)
        await all_leave(ranks)
        assert await stage.status() == 75
        assert stage.said.errors[0].startswith("rank 1 of 4 did not arrive within")

    playing(4, "dedicated", spare=1, timeout=SOON)(play)


def test_with_min_workers_a_rank_that_never_arrives_is_replaced_at_the_deadline() -> (
    None
):
    async def play(stage: Stage) -> None:
        zero, two = await stage.rank(0, "c0"), await stage.rank(2, "c2")
        zero.say(UP)
        await two.hears(m.Start)
        assert stage.said.warnings == ["rank 1 did not arrive in time"]

    playing(3, spare=1, min_workers=1, timeout=SOON)(play)
