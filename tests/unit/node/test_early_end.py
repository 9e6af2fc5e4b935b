"""How a rank ends that has not joined: who is told, and who tells the user."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from dask_runner.errors import ConfigError, SignalledError
from dask_runner.hub import messages as m
from dask_runner.launch import plan
from dask_runner.launch.launch import Launch
from dask_runner.launch.settings import settle
from dask_runner.meeting.by_file import FileMeeting
from dask_runner.meeting.file_notices import FileNotices
from dask_runner.meeting.notice import OverError
from dask_runner.meeting.relay import RelayMeeting
from dask_runner.node import early_end
from dask_runner.node.background import Tasks
from dask_runner.node.early_end import EarlyEnd, Unheard
from dask_runner.node.events import Event, Source
from dask_runner.node.launcher_child import ThisProcess
from dask_runner.node.own_contact import OwnContact
from tests.unit.records import KEY, NOTICE, RECORD, published, world

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

SIZE = 4
ERROR = ConfigError("no scratch", "a directory", "name one")
ASKED = SignalledError("rank 1 on c1", 15, "before the ranks had met")


class Leader(ThisProcess):
    """A process that has a leader, which it can tell."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[object] = []

    def fail(self, error: object) -> bool:
        self.told.append(error)
        return True


class Play:
    """A rank that has not joined."""

    def __init__(
        self,
        place: Path,
        rank: int = 1,
        *,
        launched: ThisProcess | None = None,
        notices: bool = True,
        **given: Any,
    ) -> None:
        launch = Launch(
            world(rank=rank, size=SIZE),
            plan.make_plan(SIZE, "shared"),
            settle(given, {}),
            {},
        )
        self.meeting = FileMeeting([place / "record.json"], KEY)
        self.notices = FileNotices(self.meeting, KEY, SIZE)
        if notices:
            self.meeting.post_notices(self.notices)
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.contact = OwnContact(launch, self.meeting, "c1")
        self.end = EarlyEnd(
            launch,
            "c1",
            self.contact,
            launched or ThisProcess(),
            self.events,
            Tasks(self.events),
        )


def played(play: Coroutine[Any, Any, None]) -> None:
    asyncio.run(play)


async def reason(contact: OwnContact) -> OverError:
    """Return what those get who wait for the record by this rank."""
    with pytest.raises(OverError) as caught:
        await contact.made()
    return caught.value


def test_an_error_is_said_and_left_for_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def play() -> None:
        rank = Play(tmp_path)
        assert rank.end.now(ERROR) == 78
        left = rank.notices.find()
        assert left is not None
        assert (left.rank, left.node, left.status) == (1, "c1", 78)
        assert (left.saw, left.needed, left.do) == (ERROR.saw, ERROR.needed, ERROR.do)
        assert (await reason(rank.contact)).status == 78

    played(play())
    assert capsys.readouterr().err.count("error: no scratch") == 1


def test_a_signal_is_said_as_what_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def play() -> None:
        assert Play(tmp_path).end.now(ASKED) == 143

    played(play())
    said = capsys.readouterr().err
    assert said == "dask-runner: rank 1 on c1 got SIGTERM before the ranks had met\n"


@pytest.mark.parametrize(("rank", "said", "says"), [(1, False, 0), (0, False, 1)])
def test_who_ends_by_a_notice_signs_it_and_rank_0_says_what_nobody_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rank: int, said: bool, says: int
) -> None:
    async def play() -> None:
        one = Play(tmp_path, rank)
        notice = replace(NOTICE, said=said)
        one.notices.leave(notice)
        assert one.end.now(OverError(notice)) == NOTICE.status
        assert one.notices.signed() == {rank, NOTICE.rank}
        assert (await reason(one.contact)).notice == notice

    played(play())
    assert capsys.readouterr().err.count("error: no scratch") == says


def test_who_comes_second_says_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def play() -> None:
        rank = Play(tmp_path)
        rank.notices.leave(NOTICE)
        assert rank.end.now(ERROR) == 78
        assert rank.notices.signed() == {1, NOTICE.rank}

    played(play())
    assert not capsys.readouterr().err


def test_what_another_rank_of_the_node_ends_by_is_left_in_its_name(
    tmp_path: Path,
) -> None:
    async def play() -> None:
        rank = Play(tmp_path)
        rank.contact.report_another(m.Absent(2, "died before it joined"))
        rank.end.now(ERROR, 2)
        left = rank.notices.find()
        assert left is not None
        assert left.rank == 2
        assert rank.notices.signed() == {1, 2}
        assert not rank.contact.absent  # the notice says it

    played(play())


def test_ranks_that_had_joined_sign_what_one_of_rank_0s_node_leaves_late(
    tmp_path: Path,
) -> None:
    async def play() -> None:
        late, *joined = (Play(tmp_path, rank) for rank in (1, 2, 3))
        for rank in joined:
            rank.end.without_rank_0()
        ends = [asyncio.create_task(rank.end.over()) for rank in joined]
        await asyncio.sleep(0)
        late.end.now(ERROR, 0)
        assert late.notices.signed() == {0, 1}
        await asyncio.gather(*ends)
        await late.end.over()
        assert late.notices.find() is None

    played(play())


def test_a_leader_tells_the_others_and_no_notice_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def play() -> None:
        leader = Leader()
        rank = Play(tmp_path, launched=leader)
        assert rank.end.now(ERROR) == 78
        assert leader.told == [ERROR]
        assert rank.notices.find() is None

    played(play())
    assert not capsys.readouterr().err


@pytest.mark.parametrize(("error", "left"), [(ERROR, False), (ASKED, True)])
def test_a_rank_that_others_can_do_without_ends_them_by_a_signal_alone(
    tmp_path: Path, error: ConfigError | SignalledError, left: bool
) -> None:
    async def play() -> None:
        rank = Play(tmp_path, min_workers=2)
        assert not rank.end.is_missed(1)
        assert rank.end.is_missed(0)
        rank.end.now(error)
        assert (rank.notices.find() is not None) == left

    played(play())


@pytest.mark.parametrize(("error", "says"), [(ERROR, "no scratch"), (ASKED, "")])
def test_under_a_launcher_that_ends_all_each_says_its_error_and_no_signal(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    error: ConfigError | SignalledError,
    says: str,
) -> None:
    async def play() -> None:
        Play(tmp_path, notices=False).end.now(error)

    played(play())
    said = capsys.readouterr().err
    assert says in said
    assert bool(said) == bool(says)


# --- in a moment ----------------------------------------------------------------


def test_a_hub_that_is_not_found_in_time_is_told_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(early_end, "WAIT_FOR_HUB_SECONDS", 0.05)

    async def play() -> None:
        rank = Play(tmp_path)
        await rank.end.soon(ERROR, 1)
        assert rank.events.get_nowait() == (Source.early_end, Unheard(ERROR, 1))

    played(play())


def test_who_learns_meanwhile_that_it_is_over_gives_up_for_that_alone(
    tmp_path: Path,
) -> None:
    async def play() -> None:
        rank = Play(tmp_path)
        soon = asyncio.create_task(rank.end.soon(ERROR, 1))
        await asyncio.sleep(0)
        rank.contact.found(OverError(NOTICE))
        await soon
        assert rank.events.empty()

    played(play())


def test_a_record_that_has_been_handed_over_is_of_a_hub_that_is_near(
    tmp_path: Path,
) -> None:
    async def hand_over(text: str | None) -> str:
        return text or ""

    place = RelayMeeting(hand_over)
    assert not place.has_come
    published(tmp_path / "record.json")  # it may be of a rank 0 that is gone
    assert not FileMeeting([tmp_path / "record.json"], KEY).has_come
    asyncio.run(place.publish(RECORD))
    assert place.has_come
