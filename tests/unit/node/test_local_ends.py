"""What ``dask-runner -n`` does when one of its ranks ends."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import pytest

from dask_runner.launch.settings import settle
from dask_runner.meeting.by_file import FileMeeting
from dask_runner.meeting.file_notices import FileNotices
from dask_runner.node.local_ends import LocalEnds
from tests.unit.records import KEY, NOTICE, RECORD, world

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 3


class Process:
    """One that ends when it is told to."""

    def __init__(self) -> None:
        self._ended = asyncio.Event()
        self._status = 0

    def end(self, status: int) -> None:
        self._status = status
        self._ended.set()

    async def wait(self) -> int:
        await self._ended.wait()
        return self._status


class Play:
    """A launch whose ranks have begun."""

    def __init__(self, place: Path, **given: Any) -> None:
        self.meeting = FileMeeting([place / "record.json"], KEY)
        self.notices = FileNotices(self.meeting, KEY, SIZE)
        self.ends = LocalEnds(
            world(size=SIZE), self.meeting, settle({"nranks": SIZE, **given}, {})
        )
        self.ranks = [Process() for _ in range(SIZE)]
        self.writing = [
            asyncio.create_task(self.ends.report(rank, process))  # type: ignore[arg-type]
            for rank, process in enumerate(self.ranks)
        ]

    async def meet(self) -> None:
        await self.meeting.publish(RECORD)
        await self.ends.watch()

    async def end(self, rank: int, status: int) -> None:
        self.ranks[rank].end(status)
        await self.writing[rank]

    def close(self) -> None:
        for task in self.writing:
            task.cancel()


KILLED, ASKED = -signal.SIGKILL, -signal.SIGTERM


@pytest.mark.parametrize(
    ("rank", "status", "ends_with", "says"),
    [
        (2, KILLED, 75, "error: rank 2 on {} was killed by SIGKILL before the ranks"),
        (2, ASKED, 143, "rank 2 on {} got SIGTERM before the ranks had met"),
        (2, 143, 143, ""),
        (1, 78, 78, ""),  # which it has said itself
        (0, KILLED, 137, "error: rank 0 on {} was killed by SIGKILL before the ranks"),
        (0, ASKED, 143, "rank 0 on {} got SIGTERM before the ranks had met"),
    ],
)
def test_a_rank_that_ends_before_they_have_met_ends_all(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    rank: int,
    status: int,
    ends_with: int,
    says: str,
) -> None:
    import socket  # noqa: PLC0415

    async def play() -> Play:
        launch = Play(tmp_path)
        await launch.end(rank, status)
        launch.close()
        return launch

    launch = asyncio.run(play())
    assert launch.ends.over.is_set()
    assert launch.ends.status == ends_with
    said = capsys.readouterr().err
    assert says.format(socket.gethostname()) in said
    assert bool(said) == bool(says)
    notice = launch.notices.find()
    assert notice is not None
    assert (notice.rank, notice.status, notice.said) == (rank, ends_with, True)
    launch.ends.close()
    assert not list(tmp_path.iterdir())


def test_what_a_rank_has_said_itself_is_not_said_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def play() -> int:
        launch = Play(tmp_path)
        launch.notices.leave(NOTICE)
        await launch.end(2, NOTICE.status)
        launch.close()
        return launch.ends.status

    assert asyncio.run(play()) == NOTICE.status
    assert not capsys.readouterr().err


def test_once_they_meet_the_hub_says_what_the_end_of_a_rank_means(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def play() -> Play:
        launch = Play(tmp_path)
        await launch.meet()
        await launch.end(2, KILLED)
        assert not launch.ends.over.is_set()
        launch.close()
        return launch

    notice = asyncio.run(play()).notices.find()
    # Rank 0 says it, if that rank has not come to it before.
    assert notice is not None
    assert not notice.said
    assert not capsys.readouterr().err


def test_the_cluster_begins_with_fewer_where_the_user_wants_that(
    tmp_path: Path,
) -> None:
    async def play() -> Play:
        launch = Play(tmp_path, min_workers=1)
        await launch.end(2, KILLED)
        assert not launch.ends.over.is_set()
        launch.close()
        return launch

    assert asyncio.run(play()).notices.find() is None


@pytest.mark.parametrize(
    ("status", "passed_on", "says"),
    [
        (0, (), ""),
        (3, (), ""),
        (ASKED, (signal.SIGTERM,), ""),
        (KILLED, (), "error: rank 0 on "),
    ],
)
def test_the_end_of_rank_0_is_the_launchs(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    status: int,
    passed_on: tuple[int, ...],
    says: str,
) -> None:
    async def play() -> int:
        launch = Play(tmp_path)
        launch.ends.passed_on.update(passed_on)
        await launch.meet()
        launch.meeting.withdraw()  # as at the end
        await launch.end(0, status)
        assert launch.ends.over.is_set()
        launch.close()
        return launch.ends.status

    assert asyncio.run(play()) == (128 - status if status < 0 else status)
    said = capsys.readouterr().err
    assert says in said
    assert bool(said) == bool(says)
