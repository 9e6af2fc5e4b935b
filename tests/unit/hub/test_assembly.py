"""From the first rank to the moment at which the script begins."""

from __future__ import annotations

from typing import Any

import pytest

from dask_runner.hub import assembly
from dask_runner.hub import messages as m
from tests.unit.stage import (
    UP,
    Stage,
    all_leave,
    playing,
    ready,
    workers,
)

# --- the way to ready -------------------------------------------------------


def test_a_cluster_comes_up_and_ends_with_the_clients_status() -> None:
    async def play(stage: Stage) -> None:
        ranks = await ready(stage, 3)
        ranks[0].say(m.ClientEnded(7, ""))
        await all_leave(ranks)
        assert await stage.status() == 7
        assert not stage.said.errors
        assert not stage.said.warnings
        assert len(stage.said.notes) <= 4

    playing(3)(play)


def test_in_the_dedicated_layout_rank_1_gets_the_client() -> None:
    async def play(stage: Stage) -> None:
        ranks = await stage.ranks(0, 1, 2)
        ranks[0].say(UP)
        await ranks[2].hears(m.Start)
        ranks[2].say(workers(2))
        assert (await ranks[1].hears(m.Ready)).nworkers == 1

    playing(3, "dedicated")(play)


def test_workers_start_before_all_ranks_are_there() -> None:
    async def play(stage: Stage) -> None:
        (one,) = await stage.ranks(0)
        one.say(UP)
        assert (await one.hears(m.Start)).address == UP.address

    playing(2)(play)


def test_ranks_that_are_not_placed_are_counted_by_node_when_all_are_there() -> None:
    async def play(stage: Stage) -> None:
        nodes = ["c1", "c2", "c1", "c2"]
        ranks = [
            await stage.rank(number, node, local_size=0)
            for number, node in enumerate(nodes)
        ]
        ranks[0].say(UP)
        starts = [await rank.hears(m.Start) for rank in ranks]
        places = [(start.local_rank, start.local_size) for start in starts]
        assert places == [(0, 2), (0, 2), (1, 2), (1, 2)]

    playing(4)(play)


def bound(cpus: str, *, local_size: int = 2, **more: Any) -> dict[str, Any]:
    """Return what a rank says that cannot tell its share by itself."""
    return {"cpus": cpus, "local_size": local_size, "asks": True, **more}


def test_ranks_that_ask_are_told_the_cpus_of_all_ranks_of_their_node() -> None:
    async def play(stage: Stage) -> None:
        # In another order than they have on their node.
        three = await stage.rank(3, "c2", **bound("0-3"))
        zero = await stage.rank(0, "c1", **bound("0-1", local_rank=1))
        zero.say(UP)
        one = await stage.rank(1, "c1", **bound("2-3", local_rank=0))
        for rank, place in ((zero, 1), (one, 0)):
            start = await rank.hears(m.Start)
            assert (start.local_rank, start.local_size) == (place, 2)
            assert start.masks == ["2-3", "0-1"]
        two = await stage.rank(2, "c2", **bound("4-7"))
        for rank in (two, three):
            assert (await rank.hears(m.Start)).masks == ["4-7", "0-3"]

    playing(4)(play)


def test_a_rank_that_asks_nothing_starts_before_the_others_of_its_node() -> None:
    async def play(stage: Stage) -> None:
        zero = await stage.rank(0, **bound("0-1", asks=False))
        zero.say(UP)
        assert (await zero.hears(m.Start)).masks == []

    playing(2)(play)


def test_ranks_of_one_machine_under_several_names_do_not_wait_for_ever() -> None:
    async def play(stage: Stage) -> None:
        # Each in a container with a name of its own: nobody knows their node.
        ranks = [await stage.rank(n, f"box{n}", **bound(f"{n}")) for n in range(2)]
        ranks[0].say(UP)
        for rank in ranks:
            assert (await rank.hears(m.Start)).masks == []

    playing(2)(play)


def test_ranks_that_the_cluster_can_do_without_are_not_awaited_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(assembly, "NEIGHBOURS_SECONDS", 0.2)

    async def play(stage: Stage) -> None:
        zero = await stage.rank(0, **bound("0"))
        led = await stage.rank(1, "c2", local_rank=1, local_size=2)
        zero.say(UP)
        assert (await zero.hears(m.Start)).masks == []
        assert (await led.hears(m.Start)).local_rank == 0

    playing(4, min_workers=2)(play)


def test_a_rank_waits_for_the_first_of_its_host_whose_agent_it_may_share() -> None:
    async def play(stage: Stage) -> None:
        zero = await stage.rank(0)
        second = await stage.rank(2, "c2", local_rank=1, local_size=2)
        zero.say(UP)
        await zero.hears(m.Start)
        assert second.channel.waiting() == []
        await stage.rank(1, "c2", local_rank=0, local_size=2)
        assert (await second.hears(m.Start)).local_rank == 1

    playing(4)(play)


def test_only_the_planned_scheduler_can_say_that_it_is_up() -> None:
    async def play(stage: Stage) -> None:
        zero, one = await stage.ranks(0, 1)
        one.say(m.SchedulerUp("tcp://127.0.0.1:666"))
        zero.say(UP)
        assert (await one.hears(m.Start)).address == UP.address

    playing(2)(play)


def test_min_workers_begins_with_fewer_and_takes_late_ones() -> None:
    async def play(stage: Stage) -> None:
        zero, one = await stage.ranks(0, 1)
        zero.say(UP)
        one.say(workers(1))
        assert (await zero.hears(m.Ready)).nworkers == 1
        (late,) = await stage.ranks(2)
        assert (await late.hears(m.Start)).address == UP.address

    playing(3, min_workers=1)(play)


def test_min_workers_begins_where_nobody_knows_how_many_ranks_a_host_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(assembly, "NEIGHBOURS_SECONDS", 0.2)

    async def play(stage: Stage) -> None:
        zero = await stage.rank(0, local_size=0)
        pod = await stage.rank(1, "c2", local_size=0)
        zero.say(UP)
        assert (await zero.hears(m.Start)).address == UP.address
        assert (await pod.hears(m.Start)).address == UP.address

    playing(3, min_workers=2)(play)


# --- ranks that do not come, or come twice ----------------------------------


def test_missing_ranks_are_named_at_the_timeout() -> None:
    async def play(stage: Stage) -> None:
        ranks = await stage.ranks(0, 2)
        await all_leave(ranks)
        assert await stage.status() == 75
        (error,) = stage.said.errors
        assert "ranks 1, 3 of 4 did not arrive within 0.3 s" in error
        assert "needed: " in error
        assert "you can: " in error

    playing(4, timeout=0.3)(play)


def test_a_scheduler_that_does_not_come_up_is_named_at_the_timeout() -> None:
    async def play(stage: Stage) -> None:
        await all_leave(await stage.ranks(0, 1))
        assert await stage.status() == 75
        assert "scheduler" in stage.said.errors[0]

    playing(2, timeout=0.3)(play)


def test_ranks_without_workers_are_named_at_the_timeout() -> None:
    async def play(stage: Stage) -> None:
        ranks = await stage.ranks(0, 1, 2)
        ranks[0].say(UP)
        ranks[0].say(workers(0))
        await all_leave(ranks)
        assert await stage.status() == 75
        assert "rank 1 on c1, rank 2 on c1" in stage.said.errors[0]

    playing(3, timeout=0.3)(play)


def test_ranks_that_do_not_come_back_from_mpi_are_told_as_such() -> None:
    async def play(stage: Stage) -> None:
        ranks = await stage.ranks(0, 1)
        ranks[0].say(UP)
        await all_leave(ranks)
        assert await stage.status() == 75
        assert "they are in MPI_Init" in stage.said.errors[0]
        assert "dask-runner check" in stage.said.errors[0]

    playing(2, timeout=0.3, mpi_tasks=True)(play)


def test_a_second_rank_with_the_same_number_is_refused_and_the_first_stays() -> None:
    async def play(stage: Stage) -> None:
        first, second = await stage.rank(0), await stage.rank(0, "c9")
        assert await second.hears(m.Refused) == m.Refused(0)
        assert "second rank 0 on c9" in stage.said.warnings[0]
        first.say(UP)
        await first.hears(m.Start)

    playing(2)(play)


@pytest.mark.parametrize("number", [-1, 2, 10**9])
def test_a_rank_that_is_none_of_the_world_is_refused(number: int) -> None:
    async def play(stage: Stage) -> None:
        stranger = await stage.rank(number)
        assert await stranger.hears(m.Refused) == m.Refused(number)
        assert stage.said.warnings
        assert not stage.finished.done()

    playing(2)(play)
