"""One connection for all ranks of a node: who says and who hears what."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from dask_runner.errors import LostError
from dask_runner.hub import messages as m
from dask_runner.node.connection import Connection
from dask_runner.node.contact import Met, SharedContact
from dask_runner.node.exits import Ended
from dask_runner.node.find_hub import Broken
from tests.unit.records import RECORD

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from dask_runner.node.events import Event
    from dask_runner.wire.message import Message


class Channel:
    """The hub's end: what was said, in one go each, and what it answers."""

    local_host = "127.0.0.1"

    def __init__(self, *answers: Message) -> None:
        self.said: list[tuple[Message, ...]] = []
        self._answers = [*answers, None]

    def send(self, *messages: Message) -> None:
        self.said.append(messages)

    async def receive(self) -> Message | None:
        return self._answers.pop(0)

    def close(self) -> None:
        """Nothing more comes."""

    async def closed(self) -> None:
        """Nothing more comes."""


class Play:
    """A node of three ranks."""

    def __init__(self, *answers: Message) -> None:
        self.channel = Channel(*answers)
        self.looks: list[float] = []
        self.connection = Connection(self.channel, 30.0)  # type: ignore[arg-type]
        self.events: list[asyncio.Queue[Event]] = [asyncio.Queue() for _ in range(3)]
        for rank in range(3):
            self.join(rank)

    def join(self, rank: int) -> None:
        hello, events = m.Hello(rank), self.events[rank]
        self.connection.join(hello, events, self.looks.append)

    def heard(self) -> list[list[Any]]:
        """Return what each rank has heard of the hub."""
        return [
            [what for _, what in (one.get_nowait() for _ in range(one.qsize()))]
            for one in self.events
        ]


def played(play: Coroutine[Any, Any, None]) -> None:
    asyncio.run(play)


END = Ended(0)


def test_what_is_said_at_one_time_is_sent_together() -> None:
    async def play() -> None:
        node = Play()
        node.connection.say_of(1, m.Note("one"))
        await asyncio.sleep(0)
        node.connection.say_of(2, m.Note("two"))
        await node.connection.closed()
        assert node.channel.said == [
            (*map(m.Hello, range(3)), m.OfRank(1, m.Note("one"))),
            (m.OfRank(2, m.Note("two")),),
        ]

    played(play())


def test_each_rank_hears_what_is_for_it_and_all_hear_the_end() -> None:
    async def play() -> None:
        starts = m.Starts("tcp://h:1", [1, 2, 7], [7, 1, 2, 0])
        node = Play(
            starts, m.OfRank(0, m.Complete()), m.OfRank(9, m.Ping()), m.Close(3)
        )
        await node.connection.listen()
        assert node.heard() == [
            [m.Complete(), m.Close(3), END],
            [m.Start("tcp://h:1", 1, 4), m.Close(3), END],
            [m.Start("tcp://h:1", 2, 4), m.Close(3), END],
        ]

    played(play())


def test_a_rank_that_is_refused_hears_and_says_nothing_more() -> None:
    async def play() -> None:
        node = Play(m.Refused(1), m.Close(0))
        await node.connection.listen()
        node.connection.say_of(1, m.Note("unheard"))
        node.connection.lose(1, "it has ended")
        node.connection.bye(0)
        node.connection.bye(2)
        await node.connection.closed()
        assert node.heard()[1] == [m.Refused(1)]
        assert node.channel.said[-1][-1:] == (m.Bye(),)
        assert m.Note("unheard") not in sum(node.channel.said, ())

    played(play())


def test_the_node_says_bye_when_its_last_rank_has_stopped() -> None:
    async def play() -> None:
        node = Play()
        node.connection.bye(0)
        node.connection.bye(1)
        await asyncio.sleep(0)
        node.connection.lose(2, "its process is gone")
        await node.connection.closed()
        assert node.channel.said[1:] == [
            (m.Gone(2, "its process is gone"), m.Bye()),
        ]

    played(play())


def test_a_rank_that_leaves_after_the_end_is_no_loss() -> None:
    async def play() -> None:
        node = Play(m.Finish())
        await asyncio.sleep(0)
        await node.connection.listen()
        node.connection.lose(1, "it has ended")
        await node.connection.closed()
        assert len(node.channel.said) == 1

    played(play())


def test_a_rank_that_comes_when_the_hub_is_gone_hears_that_alone() -> None:
    async def play() -> None:
        node = Play()
        await node.connection.listen()
        node.heard()
        node.join(1)
        assert node.heard() == [[], [END], []]

    played(play())


# --- the contact of a rank that the leader plays ------------------------------


class Leader(SharedContact):
    """The leader's contact, without a meeting."""

    def __init__(self) -> None:
        super().__init__(0, self)


def test_a_played_rank_uses_the_leaders_connection() -> None:
    async def play() -> None:
        node, leader = Play(), Leader()
        contact = SharedContact(7, leader)
        contact.say(m.Note("early"))
        contact.report_another(m.Absent(8, "died"))
        waiting = asyncio.create_task(contact.meet(None))
        await asyncio.sleep(0)
        assert not contact.is_near
        leader.found(Met(RECORD, node.connection))
        met = await waiting
        assert isinstance(met, Met)
        assert contact.is_near
        contact.found(met)
        events: asyncio.Queue[Event] = asyncio.Queue()
        contact.join(m.Hello(7), events, node.looks.append)
        await contact.closed()
        await node.connection.closed()
        assert node.channel.said[-1][-4:] == (
            m.Hello(7),
            m.OfRank(7, m.Note("early")),
            m.Absent(8, "died"),
            m.Gone(7, "it has ended"),
        )

    played(play())


def test_a_played_rank_ends_by_what_its_leader_has_found() -> None:
    async def play() -> None:
        leader = Leader()
        leader.found(LostError("no hub"))
        broken = await SharedContact(7, leader).meet(None)
        assert isinstance(broken, Broken)
        with pytest.raises(LostError, match="no hub"):
            raise broken.error

    played(play())
