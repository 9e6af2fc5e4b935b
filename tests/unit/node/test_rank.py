"""The table of a rank's events: what each of them does.

The rank here begins nothing and leaves nothing: what it starts, and the hub, are in the
local tier.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from dask_runner.errors import AssemblyError, LostError
from dask_runner.hub import messages as m
from dask_runner.launch import plan
from dask_runner.launch.launch import Launch
from dask_runner.launch.settings import settle
from dask_runner.meeting.by_file import FileMeeting
from dask_runner.node import messages as n
from dask_runner.node.background import Crashed
from dask_runner.node.events import Event, Source
from dask_runner.node.exits import Ended
from dask_runner.node.find_hub import Broken
from dask_runner.node.launcher_child import ThisProcess
from dask_runner.node.own_contact import OwnContact
from dask_runner.node.rank import Rank
from dask_runner.resources.machine import take
from tests.unit.records import KEY, world

if TYPE_CHECKING:
    from pathlib import Path

    from dask_runner.wire.message import Message

SIZE = 4
FINISH = (Source.link, m.Finish())


class Heard(OwnContact):
    """A contact that is there, or not, and keeps what is said over it."""

    def __init__(self, *args: Any, joined: bool) -> None:
        super().__init__(*args)
        self._joined = joined
        self.said: list[object] = []

    @property
    def has_met(self) -> bool:
        return self._joined

    def say(self, message: Message) -> None:
        self.said.append(message)

    report_another = say

    def lose(self, why: str) -> None:
        self.said.append(why)


class Idle(Rank):
    """A rank whose beginning and end are left out."""

    async def _begin(self) -> None:
        pass

    async def _leave(self) -> None:
        await self._tasks.cancel()


class Lasting(ThisProcess):
    """The process of the tests, which the kernel is not to kill."""

    def die_in(self, seconds: float) -> None:
        del seconds


@dataclass
class Life:
    """What became of a rank, and what the hub heard of it."""

    status: int
    said: list[object] = field(default_factory=list)


def lived(place: Path, *happened: Event, rank: int = 1, joined: bool = True) -> Life:
    """Let this happen to a rank."""

    async def live() -> Life:
        events: asyncio.Queue[Event] = asyncio.Queue()
        for event in happened:
            events.put_nowait(event)
        launch = Launch(
            world(rank=rank, size=SIZE, local_rank=rank, local_size=SIZE),
            plan.make_plan(SIZE, "shared"),
            settle({}, {}),
            {},
        )
        meeting = FileMeeting([place / "record.json"], KEY)
        contact = Heard(launch, meeting, "c1", joined=joined)
        async with asyncio.timeout(5):
            status = await Idle(launch, take({}), contact, events, Lasting()).run()
        return Life(status, contact.said)

    return asyncio.run(live())


# --- while it belongs to the cluster ------------------------------------------


def test_a_rank_ends_well_when_the_hub_says_that_all_have_ended(
    tmp_path: Path,
) -> None:
    assert lived(tmp_path, FINISH).status == 0


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Source.scheduler, m.SchedulerUp("tcp://127.0.0.1:1")),
        (Source.scheduler, m.SchedulerClosed()),
        (Source.scheduler, m.Failed("saw", "needed", "do", 78)),
        (Source.agent, m.WorkersUp(["1"], 2, 0)),
        (Source.agent, m.WorkerDied("1", "was killed by SIGKILL")),
        (Source.agent, m.WorkerBack("1")),
        (Source.agent, m.WorkerLeft("1")),
        (Source.agent, m.Note("careful")),
        (Source.above, m.ClientEnded(3, "")),
        (Source.launched, m.Signalled(15)),
        (Source.node, m.Absent(2, "died before it joined")),
    ],
)
def test_what_concerns_others_is_said_to_the_hub_as_it_is(
    tmp_path: Path, source: Source, message: Message
) -> None:
    assert lived(tmp_path, (source, message), FINISH).said == [message]


def test_a_signal_that_comes_twice_at_once_is_one(tmp_path: Path) -> None:
    signal = (Source.launched, m.Signalled(15))

    assert lived(tmp_path, signal, signal, FINISH).said == [m.Signalled(15)]


def test_another_signal_is_another(tmp_path: Path) -> None:
    signals = [(Source.launched, m.Signalled(number)) for number in (2, 15)]

    assert len(lived(tmp_path, *signals, FINISH).said) == 2


def test_the_end_of_a_scheduler_that_was_closed_is_no_loss(tmp_path: Path) -> None:
    closed = (Source.scheduler, m.SchedulerClosed())
    life = lived(tmp_path, closed, (Source.scheduler, Ended(0)), FINISH)

    assert life.said == [m.SchedulerClosed()]


def test_the_end_of_an_agent_that_has_failed_is_no_news(tmp_path: Path) -> None:
    failed = m.Failed("no space", "some", "make some", 78)
    gone = (Source.agent, m.AgentGone("has ended"))
    life = lived(tmp_path, (Source.agent, failed), gone, FINISH)

    assert life.said == [failed]


def test_the_end_of_an_agent_that_another_has_lent_is_a_loss(tmp_path: Path) -> None:
    gone = m.AgentGone("has ended")

    assert lived(tmp_path, (Source.agent, gone), FINISH).said == [gone]


def test_a_rank_whose_follower_has_died_is_lost(tmp_path: Path) -> None:
    life = lived(tmp_path, (Source.launched, Ended(-9)))

    assert life.status == LostError.status
    assert "launcher" in str(life.said)


def test_a_rank_that_is_refused_is_lost_without_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lived(tmp_path, (Source.link, m.Refused(1))).status == LostError.status
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("joined", [True, False])
def test_what_is_lost_once_the_cluster_closes_is_no_news(
    tmp_path: Path, joined: bool
) -> None:
    close = (Source.link, m.Close(0))
    late = [(Source.launched, Ended(-9)), (Source.leader, m.Close(78))]

    assert lived(tmp_path, close, *late, FINISH, joined=joined).status == 0


def test_what_is_no_event_of_a_rank_is_ignored(tmp_path: Path) -> None:
    odd = [(Source.link, m.Ping()), (Source.agent, m.Finish()), (Source.node, Ended(0))]

    assert lived(tmp_path, *odd, FINISH).said == []


def test_a_mistake_of_ours_is_no_status(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        lived(tmp_path, (Source.task, Crashed(ZeroDivisionError("ours"))), FINISH)


# --- before it has joined -----------------------------------------------------


@pytest.mark.parametrize(("rank", "lines"), [(1, 1), (2, 0)])
def test_of_all_ranks_that_miss_rank_0_one_says_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rank: int, lines: int
) -> None:
    error = AssemblyError("nobody came", "rank 0", "look for it")
    broken = (Source.meeting, Broken(error))

    life = lived(tmp_path, broken, rank=rank, joined=False)

    assert life.status == AssemblyError.status
    assert capsys.readouterr().err.count("error: nobody came") == lines


def test_a_hub_that_has_been_found_all_the_same_is_believed(tmp_path: Path) -> None:
    broken = (Source.meeting, Broken(AssemblyError("nobody came")))

    assert lived(tmp_path, broken, FINISH).status == 0


def test_a_rank_ends_as_the_leader_of_its_node_does(tmp_path: Path) -> None:
    end = (Source.leader, m.Close(78))

    assert lived(tmp_path, end, joined=False).status == 78


def test_a_leader_that_dies_as_rank_0_ends_its_node(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    life = lived(tmp_path, (Source.leader, Ended(-9)), joined=False)

    assert life.status == AssemblyError.status
    assert "rank 0 on" in capsys.readouterr().err


def test_a_leader_of_another_number_is_reported_by_it(tmp_path: Path) -> None:
    leads = (Source.leader, n.Leads(2))
    life = lived(tmp_path, leads, (Source.leader, Ended(-9)), FINISH, joined=False)

    assert [one.rank for one in life.said if isinstance(one, m.Absent)] == [2]


def test_a_script_that_ends_before_the_ranks_have_met_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    life = lived(tmp_path, (Source.above, Ended(1)), joined=False)

    assert life.status == LostError.status
    assert "ended before the ranks had met" in capsys.readouterr().err
