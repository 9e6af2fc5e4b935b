"""Spare nodes: which wait, which place each takes, and what becomes of the cluster.

It is one file because each test plays one loss with the same few ranks.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from dask_runner.errors import ConfigError
from dask_runner.hub import messages as m
from dask_runner.hub.roster import Roster
from dask_runner.hub.spares import Spares
from dask_runner.launch.plan import make_plan
from dask_runner.launch.world import World
from tests.unit.stage import UP, FakeRank, Stage, all_leave, playing, workers

WORLD = World("slurm", 0, 6, None, None, "1", "slurm.1", "file")

#: Two ranks on each of three nodes, which the launcher has dealt out in blocks or in
#: turns.
BLOCKS = ("c1", "c1", "c2", "c2", "c3", "c3")
TURNS = ("c1", "c2", "c3", "c1", "c2", "c3")


# --- which nodes wait ------------------------------------------------------------


def chosen(
    hosts: tuple[str, ...],
    number: int,
    layout: str = "shared",
    launcher: str = "slurm",
) -> set[int]:
    """Return the ranks that wait, of ranks that are all there."""
    size = len(hosts)
    plan = make_plan(size, layout)
    world = replace(WORLD, size=size, launcher=launcher)
    roster = Roster(size, plan.workers)
    spares = Spares(number, world, plan, roster)
    for rank, host in enumerate(hosts):
        assert spares.holds(rank)
        spares.note(rank, host)
    spares.choose()
    waiting = {rank for rank in range(size) if spares.holds(rank)}
    assert roster.missing == set(plan.workers) - waiting
    return waiting


@pytest.mark.parametrize(
    ("hosts", "number", "waiting"),
    [
        (BLOCKS, 1, {4, 5}),
        (BLOCKS, 2, {2, 3, 4, 5}),
        (TURNS, 1, {2, 5}),
        (("c9", "c1", "c5"), 1, {2}),
    ],
)
def test_the_last_nodes_wait_with_all_their_ranks(
    hosts: tuple[str, ...], number: int, waiting: set[int]
) -> None:
    assert chosen(hosts, number) == waiting


@pytest.mark.parametrize(
    ("hosts", "waiting"), [(BLOCKS, {4, 5}), (("c1", "c3", "c2", "c3"), {2})]
)
def test_a_node_with_the_client_never_waits(
    hosts: tuple[str, ...], waiting: set[int]
) -> None:
    assert chosen(hosts, 1, "dedicated") == waiting


def test_with_dask_runner_n_each_rank_counts_as_a_node() -> None:
    assert chosen(("vm",) * 5, 2, launcher="local") == {3, 4}


def test_nobody_waits_where_nobody_asks_for_it() -> None:
    roster = Roster(2, (0, 1))
    spares = Spares(0, WORLD, make_plan(2, "shared"), roster)
    assert spares.chosen
    assert not spares.holds(1)


@pytest.mark.parametrize(
    ("hosts", "number", "layout", "way_out"),
    [
        (BLOCKS, 3, "shared", "say --spare 2"),
        (("c1", "c1", "c1"), 1, "shared", "leave out --spare"),
        (("c1", "c2", "c1", "c2"), 1, "dedicated", "leave out --spare"),
        # Two nodes can wait, but then nobody works.
        (("c1", "c2", "c3", "c4"), 2, "dedicated", "say --spare 1"),
    ],
)
def test_too_few_nodes_are_an_error_that_says_how_many_can_wait(
    hosts: tuple[str, ...], number: int, layout: str, way_out: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        chosen(hosts, number, layout)
    assert caught.value.saw.startswith(f"--spare {number}, and the ranks are on ")
    assert way_out in caught.value.do


# --- plays -----------------------------------------------------------------------


async def begun(stage: Stage, size: int, spare: int = 1) -> list[FakeRank]:
    """Bring nodes of a rank each to where the client has begun; the last ones wait."""
    ranks = await nodes(stage, size)
    for rank in ranks[: size - spare]:
        await rank.hears(m.Start)
        rank.say(workers(rank.rank))
    await ranks[0].hears(m.Ready)
    return ranks


async def nodes(stage: Stage, size: int) -> list[FakeRank]:
    ranks = [await stage.rank(number, f"c{number}") for number in range(size)]
    ranks[0].say(UP)
    return ranks


async def takes_a_place(spare: FakeRank) -> None:
    await spare.hears(m.Start)
    spare.say(workers(spare.rank))


def test_a_spare_node_waits_while_the_cluster_is_ready_without_it() -> None:
    async def play(stage: Stage) -> None:
        ranks = await begun(stage, 3)
        heard = ranks[2].channel.waiting()
        assert heard == [m.OfRank(2, m.Waits())]
        assert stage.state.scaling.capacity == 2
        ready = next(one for one in stage.said.notes if one.startswith("ready"))
        assert ready.endswith(
            "2 workers with 4 threads and 2.0 GiB on 2 nodes, 1 spare"
        )
        ranks[0].say(m.ClientEnded(0, ""))
        await all_leave(ranks)
        assert await stage.status() == 0
        assert not stage.said.warnings

    playing(3, spare=1)(play)


def test_no_workers_start_before_it_is_known_which_nodes_wait() -> None:
    async def play(stage: Stage) -> None:
        zero = await stage.rank(0, "c0")
        zero.say(UP)
        one = await stage.rank(1, "c1")
        await asyncio.sleep(0)
        assert not [*zero.channel.waiting(), *one.channel.waiting()]
        two = await stage.rank(2, "c2")
        for rank in (zero, one):
            await rank.hears(m.Start)
        assert not [one for one in two.channel.waiting() if isinstance(one, m.Starts)]

    playing(3, spare=1)(play)


def test_a_lost_node_is_replaced_by_the_spare_one_and_the_user_is_told() -> None:
    async def play(stage: Stage) -> None:
        ranks = await begun(stage, 4)
        ranks[1].channel.close()
        await takes_a_place(ranks[3])
        await stage.until(lambda: stage.said.warnings)
        assert stage.said.warnings == ["lost rank 1 on c1: no connection any more"]
        assert stage.said.notes[-1] == "rank 3 on c3 takes the place of rank 1"
        assert stage.state.scaling.capacity == 3
        ranks[0].say(m.ClientEnded(0, ""))
        await all_leave([ranks[0], *ranks[2:]])
        assert await stage.status() == 0

    playing(4, spare=1)(play)


def test_a_spare_node_has_all_its_ranks_in_the_places_of_those_of_a_node() -> None:
    async def play(stage: Stage) -> None:
        hosts = []
        for host in range(3):
            hellos = [
                m.Hello(2 * host + place, place, 2, f"{place}") for place in (0, 1)
            ]
            hosts.append(await stage.node(*hellos, name=f"c{host}"))
        hosts[0].say(m.OfRank(0, UP))
        for number, host in enumerate(hosts[:2]):
            await host.hears(m.Starts)
            for rank in (2 * number, 2 * number + 1):
                host.say(m.OfRank(rank, workers(rank)))
        hosts[1].channel.close()
        started = [await hosts[2].hears(m.Starts) for _ in range(2)]
        assert [one.starting for one in started] == [[4], [5]]
        # Each has its share of the node, though the other was not asked yet.
        assert started[0].of(4) == m.Start(UP.address, 0, 2, ["0", "1"])
        await stage.until(lambda: stage.said.warnings)
        assert stage.said.notes[-1] == "ranks 4, 5 on c2 take the places of ranks 2, 3"

    playing(6, spare=1)(play)


def test_one_rank_of_a_node_that_is_lost_costs_one_spare_rank() -> None:
    async def play(stage: Stage) -> None:
        first = await stage.node(m.Hello(0, 0, 2), m.Hello(1, 1, 2), name="c0")
        second = await stage.node(m.Hello(2, 0, 2), m.Hello(3, 1, 2), name="c1")
        first.say(m.OfRank(0, UP))
        await first.hears(m.Starts)
        for rank in (0, 1):
            first.say(m.OfRank(rank, workers(rank)))
        first.say(m.Gone(1, "it is gone"))
        assert (await second.hears(m.Starts)).starting == [2]
        assert not [
            one for one in second.channel.waiting() if isinstance(one, m.Starts)
        ]

    playing(4, spare=1)(play)


def test_the_loss_of_a_spare_node_is_a_warning() -> None:
    async def play(stage: Stage) -> None:
        ranks = await begun(stage, 3)
        ranks[2].channel.close()
        await stage.until(lambda: stage.said.warnings)
        assert stage.said.warnings == [
            "lost spare rank 2 on c2: no connection any more"
        ]
        # And what is lost then is lost as without --spare.
        ranks[1].channel.close()
        await stage.until(lambda: len(stage.said.warnings) > 1)
        ranks[0].say(m.ClientEnded(0, ""))
        await all_leave(ranks[:1])
        assert await stage.status() == 0

    playing(3, spare=1)(play)


def test_a_spare_node_that_is_lost_while_it_starts_is_replaced_by_the_next() -> None:
    async def play(stage: Stage) -> None:
        ranks = await begun(stage, 4, 2)
        ranks[1].channel.close()
        await ranks[2].hears(m.Start)
        ranks[2].channel.close()
        await takes_a_place(ranks[3])
        await stage.until(lambda: len(stage.said.notes) > 3)
        assert stage.said.notes[-2:] == [
            "rank 2 on c2 takes the place of rank 1",
            "rank 3 on c3 takes the place of rank 2",
        ]

    playing(4, spare=2)(play)


def test_a_spare_node_whose_workers_do_not_come_up_in_time_is_given_up() -> None:
    async def play(stage: Stage) -> None:
        ranks = await begun(stage, 4, 2)
        ranks[1].channel.close()
        await ranks[2].hears(m.Start)
        await ranks[3].hears(m.Start)
        await stage.until(lambda: len(stage.said.warnings) > 1)
        late = "lost rank 2 on c2: its workers did not come up within 0.3 s"
        assert stage.said.warnings[1] == late

    playing(4, spare=2, timeout=0.3)(play)


def test_without_a_spare_node_left_the_cluster_goes_on_with_fewer() -> None:
    async def play(stage: Stage) -> None:
        ranks = await begun(stage, 4)
        ranks[1].channel.close()
        await takes_a_place(ranks[3])
        ranks[2].channel.close()
        await stage.until(lambda: stage.said.warnings)
        assert stage.state.scaling.capacity == 2
        ranks[0].say(m.ClientEnded(0, ""))
        await all_leave([ranks[0], ranks[3]])
        assert await stage.status() == 0

    playing(4, spare=1)(play)


def test_the_last_node_that_works_is_replaced_as_well() -> None:
    async def play(stage: Stage) -> None:
        ranks = await nodes(stage, 4)
        await takes_a_place(ranks[2])
        await ranks[1].hears(m.Ready)
        ranks[2].channel.close()
        await takes_a_place(ranks[3])
        ranks[3].channel.close()
        await all_leave(ranks[:2])
        assert await stage.status() == 69
        assert "none is left, as rank 3 on c3 was lost" in stage.said.errors[0]

    playing(4, "dedicated", spare=1)(play)


def test_a_rank_that_is_lost_before_ready_is_replaced() -> None:
    async def play(stage: Stage) -> None:
        ranks = await nodes(stage, 3)
        await ranks[1].hears(m.Start)
        ranks[1].channel.close()
        await takes_a_place(ranks[2])
        await takes_a_place(ranks[0])
        await ranks[0].hears(m.Ready)
        assert not stage.said.errors

    playing(3, spare=1)(play)


def test_a_rank_that_fails_before_all_are_there_is_replaced_when_they_are() -> None:
    async def play(stage: Stage) -> None:
        zero, one = await stage.rank(0, "c0"), await stage.rank(1, "c1")
        zero.say(UP)
        one.say(m.Failed("no such interface", "a", "b", 78))
        two = await stage.rank(2, "c2")
        await takes_a_place(two)
        await takes_a_place(zero)
        await zero.hears(m.Ready)
        await stage.until(lambda: stage.said.warnings)
        assert stage.said.warnings[0].startswith("lost rank 1 on c1: no such interface")

    playing(3, spare=1)(play)


def test_more_losses_than_spare_nodes_end_a_cluster_that_is_not_ready() -> None:
    async def play(stage: Stage) -> None:
        ranks = await nodes(stage, 4)
        for rank in ranks[1:3]:
            rank.say(m.Failed(f"no disk {rank.rank}", "a disk", "buy one", 78))
        await all_leave(ranks)
        assert await stage.status() == 78
        assert stage.said.errors[0].startswith(
            "rank 2 on c2: no disk 2\n  needed: a disk"
        )

    playing(4, spare=1)(play)


def test_a_spare_node_that_fails_before_ready_is_not_missed() -> None:
    async def play(stage: Stage) -> None:
        zero, one = await stage.rank(0, "c0"), await stage.rank(2, "c2")
        zero.say(UP)
        one.say(m.Failed("no disk", "a disk", "buy one", 78))
        two = await stage.rank(1, "c1")
        for rank in (zero, two):
            await takes_a_place(rank)
        await zero.hears(m.Ready)
        two.channel.close()
        await stage.until(lambda: len(stage.said.warnings) > 1)
        assert not [one for one in one.channel.waiting() if isinstance(one, m.Starts)]

    playing(3, spare=1)(play)


def test_a_rank_that_died_before_it_joined_is_replaced() -> None:
    async def play(stage: Stage) -> None:
        first = await stage.node(m.Hello(0, 0, 2), name="c0")
        second = await stage.rank(2, "c1")
        first.say(m.OfRank(0, UP))
        first.say(m.Absent(1, "died before it joined"))
        await takes_a_place(second)
        first.say(m.OfRank(0, workers(0)))
        await stage.until(lambda: stage.state.shared.assembly.ready)
        assert not stage.said.errors

    playing(3, spare=1)(play)


def test_a_rank_that_fails_twice_costs_one_spare_node() -> None:
    async def play(stage: Stage) -> None:
        ranks = await begun(stage, 4, 2)
        for _ in range(2):
            ranks[1].say(m.Failed("no such interface", "", "", 78))
        await takes_a_place(ranks[2])
        await asyncio.sleep(0)
        assert not [
            one for one in ranks[3].channel.waiting() if isinstance(one, m.Starts)
        ]

    playing(4, spare=2)(play)


def test_too_few_nodes_end_the_cluster_before_anything_starts() -> None:
    async def play(stage: Stage) -> None:
        ranks = await stage.ranks(0, 1)
        await all_leave(ranks)
        assert await stage.status() == 78
        (error,) = stage.said.errors
        assert error.startswith("--spare 1, and the ranks are on 1 node, 0 of them")

    playing(2, spare=1)(play)


def test_with_min_workers_spare_nodes_wait_and_replace_all_the_same() -> None:
    async def play(stage: Stage) -> None:
        ranks = await begun(stage, 4)
        ranks[1].channel.close()
        await takes_a_place(ranks[3])
        assert not stage.said.errors

    playing(4, spare=1, min_workers=2)(play)


def test_the_number_that_was_asked_for_stays_when_a_node_is_replaced() -> None:
    async def play(stage: Stage) -> None:
        ranks = await begun(stage, 4)
        stage.state.scaling.ask(2, nearest=False)
        await ranks[0].hears(m.Retire)
        ranks[0].say(m.Staying(["0", "1"]))
        ranks[2].say(m.WorkerLeft("2"))
        # It had no workers, so its place costs none.
        ranks[2].channel.close()
        await takes_a_place(ranks[3])
        asked = await ranks[0].hears(m.Retire)
        assert (asked.left, sorted(asked.names)) == (2, ["0", "1", "3"])

    playing(4, spare=1)(play)
