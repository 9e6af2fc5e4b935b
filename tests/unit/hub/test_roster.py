"""Nodes that have many ranks: one connection speaks for all of them."""

from __future__ import annotations

import asyncio

import pytest

from dask_runner.hub import messages as m
from dask_runner.wire.message import Message, ProtocolError
from tests.unit.stage import PATIENCE, UP, FakeNode, Stage, playing, workers

#: Ranks of each node.
RANKS = 3


async def node(stage: Stage, number: int) -> FakeNode:
    """Bring a node, whose first rank leads it."""
    first = number * RANKS
    hellos = [
        m.Hello(first + place, place, RANKS, cpus=f"{place}") for place in range(RANKS)
    ]
    return await stage.node(*hellos, name=f"c{number}")


def of_all(number: int, message: Message | None = None) -> list[m.OfRank]:
    ranks = range(number * RANKS, (number + 1) * RANKS)
    return [m.OfRank(rank, message or workers(rank)) for rank in ranks]


async def begun(stage: Stage) -> list[FakeNode]:
    """Bring two nodes to the point where the client has begun."""
    nodes = [await node(stage, number) for number in range(2)]
    nodes[0].say(m.OfRank(0, UP))
    for number, one in enumerate(nodes):
        await one.hears(m.Starts)
        for message in of_all(number):
            one.say(message)
    assert isinstance((await nodes[0].hears(m.OfRank)).message, m.Complete)
    assert isinstance((await nodes[0].hears(m.OfRank)).message, m.Ready)
    return nodes


async def heard(node: FakeNode) -> list[Message]:
    """Return all that a node has been told and has not received yet."""
    await asyncio.sleep(0)  # what is told of all that come together
    found: list[Message] = node.channel.waiting()
    return found


def test_all_ranks_of_a_node_are_started_by_one_message() -> None:
    async def play(stage: Stage) -> None:
        one, two = [await node(stage, number) for number in range(2)]
        one.say(m.OfRank(0, UP))
        assert await heard(one) == [
            m.Starts(UP.address, [0, 1, 2], [0, 1, 2], ["0", "1", "2"])
        ]
        (starts,) = await heard(two)
        assert isinstance(starts, m.Starts)
        assert starts.of(3) == m.Start(UP.address, 0, 3, ["0", "1", "2"])
        assert starts.of(5) == m.Start(UP.address, 2, 3, ["0", "1", "2"])

    playing(2 * RANKS)(play)


def test_a_rank_that_its_leader_does_not_play_is_of_its_host_all_the_same() -> None:
    async def play(stage: Stage) -> None:
        one = await node(stage, 0)
        alone = await stage.rank(RANKS, "c0", local_rank=RANKS)
        one.say(m.OfRank(0, UP))
        start = await alone.hears(m.Start)
        assert (start.local_rank, start.local_size) == (3, 4)

    playing(RANKS + 1)(play)


def test_a_cluster_of_nodes_ends_with_one_message_each_way() -> None:
    async def play(stage: Stage) -> None:
        nodes = await begun(stage)
        nodes[0].say(m.OfRank(0, m.ClientEnded(7, "")))
        for one in nodes:
            assert await heard(one) == [m.Close(7)]
            one.say(m.Bye())
        for one in nodes:
            await one.hears(m.Finish)
            one.channel.close()
        assert await stage.status() == 7

    playing(2 * RANKS)(play)


def test_a_node_that_is_lost_loses_all_its_ranks_which_are_named_together() -> None:
    async def play(stage: Stage) -> None:
        one, two = await begun(stage)
        two.channel.close()
        await stage.until(lambda: stage.said.warnings)
        assert stage.said.warnings == [
            "lost ranks 3, 4, 5 on c1: no connection any more"
        ]
        lost = m.OfRank(0, m.WorkersLost(["3", "4", "5"]))
        assert await heard(one) == [lost]
        assert stage.state.nodes[0].members.keys() == {0, 1, 2}
        assert not stage.finished.done()

    playing(2 * RANKS)(play)


def test_a_node_goes_on_without_a_rank_that_it_has_lost() -> None:
    async def play(stage: Stage) -> None:
        one, two = await begun(stage)
        two.say(m.Gone(4, "its process is gone"))
        await stage.until(lambda: stage.said.warnings)
        assert stage.said.warnings == ["lost rank 4 on c1: its process is gone"]
        one.say(m.OfRank(0, m.ClientEnded(0, "")))
        await asyncio.gather(one.leaves(), two.leaves())
        assert await stage.status() == 0

    playing(2 * RANKS)(play)


@pytest.mark.parametrize(
    "message",
    [
        m.OfRank(0, m.ClientEnded(0, "")),
        m.OfRank(0, m.Signalled(15)),
        m.OfRank(9, m.Note("")),
        m.Signalled(15, 0),
        m.Gone(0, "a lie"),
        m.Gone(9, "a lie"),
    ],
)
def test_a_node_can_say_nothing_of_the_ranks_of_others(message: Message) -> None:
    async def play(stage: Stage) -> None:
        _, two = await begun(stage)
        with pytest.raises(ProtocolError, match="another's"):
            two.say(message)
        assert not stage.said.notes[2:]
        assert stage.state.nodes[0].members.keys() == {0, 1, 2}

    playing(2 * RANKS)(play)


@pytest.mark.parametrize(
    "message",
    [
        m.WorkersUp(["3"], 1, 0),
        m.Finish(),
        m.OfRank(3, m.Bye()),
        m.OfRank(3, m.Hello(3)),
        m.OfRank(3, m.OfRank(3, m.Note(""))),
        m.NodeHello("c1"),
    ],
)
def test_what_is_no_message_of_a_node_is_refused(message: Message) -> None:
    async def play(stage: Stage) -> None:
        _, two = await begun(stage)
        with pytest.raises(ProtocolError, match="sends"):
            two.say(message)

    playing(2 * RANKS)(play)


def test_what_is_said_of_a_rank_that_was_refused_is_nobodys() -> None:
    async def play(stage: Stage) -> None:
        one = await node(stage, 0)
        two = await stage.node(m.Hello(0, 0, 2), m.Hello(3, 1, 2), name="c1")
        assert await two.hears(m.Refused) == m.Refused(0)
        two.say(m.OfRank(0, m.Signalled(15)))
        one.say(m.OfRank(0, UP))
        async with asyncio.timeout(PATIENCE):
            assert (await two.hears(m.Starts)).starting == [3]

    playing(RANKS + 1)(play)


def test_a_rank_that_joins_its_node_after_the_end_learns_it() -> None:
    async def play(stage: Stage) -> None:
        one = await stage.node(m.Hello(0, 0, 2))
        one.say(m.OfRank(0, m.Failed("a wrong option", "", "", 78)))
        assert await one.hears(m.Close) == m.Close(78)
        one.say(m.Bye())
        one.say(m.Hello(1, 1, 2))
        assert await one.hears(m.OfRank) == m.OfRank(1, m.Close(78))
        one.say(m.Bye())
        await one.hears(m.Finish)
        one.channel.close()
        assert await stage.status() == 78

    playing(2)(play)
