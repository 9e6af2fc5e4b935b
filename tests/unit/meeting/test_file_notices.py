"""Notices in files: who finds them, who removes them, and which are not believed.

It is one file because a notice is one thing with a life: left, found, signed, removed.
"""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dask_runner.errors import ConfigError
from dask_runner.meeting import file_notices, record_directory
from dask_runner.meeting.by_file import FileMeeting
from dask_runner.meeting.file_notices import FileNotices
from dask_runner.meeting.notice import OverError
from tests.unit.records import KEY, NOTICE, RECORD, nothing_left, published

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


SIZE = 4
NAME = f"{KEY}.over"


def notices(*directories: Path, size: int = SIZE, key: str = KEY) -> FileNotices:
    return FileNotices(meeting(*directories), key, size)


def meeting(
    *directories: Path, reaches_all: Callable[[Path], bool] | None = None
) -> FileMeeting:
    places = [directory / "record.json" for directory in directories]
    return FileMeeting(places, KEY, reaches_all)


def own(directory: Path) -> Path:
    return directory / record_directory.RECORDS


# --- who finds it -----------------------------------------------------------


def test_a_notice_is_found_by_all_ranks_and_is_ours_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        assert notices(tmp_path).leave(NOTICE) is True
    finally:
        os.umask(before)

    assert notices(tmp_path).find() == NOTICE
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_the_first_notice_counts_and_who_comes_second_signs_it(tmp_path: Path) -> None:
    notices(tmp_path).leave(NOTICE)
    other = replace(NOTICE, rank=3, status=143)

    assert notices(tmp_path).leave(other) is False
    assert notices(tmp_path).find() == NOTICE
    assert notices(tmp_path).signed() == {2, 3}


@pytest.mark.parametrize("turn", range(20))
@pytest.mark.parametrize("names", [["home"], ["home", "work"]], ids=len)
def test_of_many_that_come_at_once_one_is_the_first(
    tmp_path: Path, names: list[str], turn: int
) -> None:
    del turn
    directories = [tmp_path / name for name in names]

    def leave(rank: int) -> bool | None:
        return notices(*directories, size=99).leave(replace(NOTICE, rank=rank))

    with ThreadPoolExecutor(16) as pool:
        firsts = list(pool.map(leave, range(16)))

    assert firsts.count(True) == 1
    # In the directory that all look into first, also by those that wrote elsewhere.
    assert notices(directories[0]).signed() == {*range(16)}


def test_a_notice_is_found_wherever_it_could_be_left(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    good = tmp_path / "good"

    assert notices(file / "bad", good).leave(NOTICE) is True
    assert notices(file / "bad", good).find() == NOTICE


def test_a_directory_that_all_see_is_enough(tmp_path: Path) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    place = meeting(home, work, reaches_all=lambda path: path.parent == home)

    assert FileNotices(place, KEY, SIZE).leave(NOTICE) is True
    assert (home / NAME).exists()
    assert not work.exists()


def test_where_nothing_can_be_written_it_is_said_that_there_is_no_notice(
    tmp_path: Path,
) -> None:
    file = tmp_path / "file"
    file.touch()

    assert notices(file / "bad").leave(NOTICE) is None


def test_a_rank_that_looks_for_the_record_ends_by_the_notice(tmp_path: Path) -> None:
    place = meeting(tmp_path)
    place.post_notices(notices(tmp_path))
    notices(tmp_path).leave(NOTICE)

    async def look() -> None:
        async with asyncio.timeout(5):
            await anext(place.records())

    with pytest.raises(OverError) as caught:
        asyncio.run(look())
    assert caught.value.notice == NOTICE


def test_a_record_counts_for_more_than_a_notice(tmp_path: Path) -> None:
    published(tmp_path / "record.json")
    notices(tmp_path).leave(NOTICE)
    place = meeting(tmp_path)
    place.post_notices(notices(tmp_path))

    async def look() -> object:
        return await anext(place.records())

    assert asyncio.run(look()) == RECORD


def test_without_hard_links_a_notice_can_be_left_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)

    assert notices(tmp_path).leave(NOTICE) is True
    assert notices(tmp_path).leave(replace(NOTICE, status=1)) is False
    assert notices(tmp_path).find() == NOTICE
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


# --- who removes it ---------------------------------------------------------


def test_the_last_one_removes_it(tmp_path: Path) -> None:
    notices(own(tmp_path)).leave(NOTICE)
    for rank in (0, 1):
        notices(own(tmp_path)).sign([rank])
        assert notices(own(tmp_path)).find() == NOTICE

    notices(own(tmp_path)).sign([3])

    assert nothing_left(tmp_path)


def test_a_notice_that_all_know_of_is_not_written(tmp_path: Path) -> None:
    assert notices(own(tmp_path)).leave(NOTICE, {0, 1, 3}) is True
    assert nothing_left(tmp_path)


def test_whoever_has_left_it_waits_until_all_have_signed(tmp_path: Path) -> None:
    async def play() -> None:
        author = notices(own(tmp_path))
        author.leave(NOTICE)
        waiting = asyncio.create_task(author.taken())
        await asyncio.sleep(0.1)
        assert not waiting.done()
        notices(own(tmp_path)).sign([0, 1, 3])
        async with asyncio.timeout(file_notices.STAY_SECONDS / 2):
            await waiting

    asyncio.run(play())
    assert nothing_left(tmp_path)


def test_the_wait_for_one_who_never_comes_is_short_and_the_notice_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_notices, "STAY_SECONDS", 0.1)
    author = notices(tmp_path)
    author.leave(NOTICE)

    asyncio.run(author.taken())

    assert notices(tmp_path).find() == NOTICE


def test_the_copy_that_only_its_author_sees_goes_with_the_other(tmp_path: Path) -> None:
    # A home that each node has for itself, and a working directory that all share.
    home, shared, elsewhere = (own(tmp_path / name) for name in "abc")
    for directory in (home, shared, elsewhere):
        directory.parent.mkdir()

    async def play() -> None:
        author = notices(home, shared)
        author.leave(NOTICE)
        waiting = asyncio.create_task(author.taken())
        for rank in (0, 1, 3):
            notices(elsewhere, shared).sign([rank])
        await waiting

    asyncio.run(play())
    assert all(nothing_left(tmp_path / name) for name in "abc")


def test_who_has_signed_nothing_waits_for_nobody(tmp_path: Path) -> None:
    notices(tmp_path).leave(NOTICE)

    async def play() -> None:
        async with asyncio.timeout(file_notices.STAY_SECONDS / 2):
            await notices(tmp_path).taken()

    asyncio.run(play())


def test_a_launcher_of_ours_removes_it_and_no_rank(tmp_path: Path) -> None:
    place = meeting(own(tmp_path))
    ranks = [FileNotices(place, KEY, 2, lambda: True) for _ in range(2)]
    ranks[0].leave(replace(NOTICE, rank=0))
    ranks[1].sign([1])
    asyncio.run(ranks[1].taken())

    assert ranks[0].find() is not None
    ranks[0].remove()
    assert nothing_left(tmp_path)


def grow_old(path: Path) -> None:
    then = time.time() - NOTICE.seconds - 1
    os.utime(path, (then, then))


def test_the_clock_of_a_node_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notices(tmp_path).leave(NOTICE)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 10 * NOTICE.seconds)

    assert notices(tmp_path).find() == NOTICE
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_half_a_signature_is_none(tmp_path: Path) -> None:
    notices(tmp_path, size=20).leave(NOTICE)
    with (tmp_path / NAME).open("a") as file:
        file.write("0\nno rank\n1")  # 10 is being written

    assert notices(tmp_path, size=20).signed() == {0, 2}


def test_what_counts_no_more_is_not_believed_and_replaced(tmp_path: Path) -> None:
    notices(tmp_path).leave(NOTICE)
    grow_old(tmp_path / NAME)
    assert notices(tmp_path).find() is None

    assert notices(tmp_path).leave(NOTICE) is True
    assert notices(tmp_path).find() == NOTICE


def test_the_next_launch_removes_what_counts_no_more_and_nothing_else(
    tmp_path: Path,
) -> None:
    directory = own(tmp_path)
    for number in range(3):
        key = f"slurm.{number}"
        notices(directory, key=key).leave(replace(NOTICE, key=key))
    for number in (1, 2):
        grow_old(directory / f"slurm.{number}.over")
    (directory / "notes.over").write_text("mine")
    (directory / "notes.over").chmod(0o600)
    place = meeting(directory)
    place.post_notices(notices(directory))
    asyncio.run(place.publish(RECORD))

    place.withdraw()

    left = {path.name for path in directory.iterdir()}
    assert left == {"slurm.0.over", "notes.over"}


# --- which are not believed -------------------------------------------------


def _half(path: Path) -> None:
    path.write_text(NOTICE.dump()[:40])
    path.chmod(0o600)


def _open_to_others(path: Path) -> None:
    path.write_text(NOTICE.dump())
    path.chmod(0o644)


def _of_another_launch(path: Path) -> None:
    path.write_text(replace(NOTICE, key="slurm.4712.0").dump())
    path.chmod(0o600)


def _linked(path: Path) -> None:
    other = path.with_name("other")
    other.write_text(NOTICE.dump())
    other.chmod(0o600)
    path.symlink_to("other")


@pytest.mark.parametrize(
    "lay",
    [
        pytest.param(_half, id="half-written"),
        pytest.param(_open_to_others, id="open to others"),
        pytest.param(_of_another_launch, id="of another launch"),
        pytest.param(_linked, id="a link"),
        pytest.param(lambda path: os.mkfifo(path, 0o600), id="a pipe"),
    ],
)
def test_what_is_no_notice_of_ours_is_not_believed_and_replaced(
    tmp_path: Path, lay: Callable[[Path], None]
) -> None:
    lay(tmp_path / NAME)
    assert notices(tmp_path).find() is None
    notices(tmp_path).sign([0])

    assert notices(tmp_path).leave(NOTICE) is True
    assert notices(tmp_path).find() == NOTICE


def test_a_directory_in_its_place_is_no_notice(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()

    assert notices(tmp_path).find() is None
    assert notices(tmp_path).leave(NOTICE) is None


def test_a_notice_does_not_hide_that_no_record_can_be_written(
    tmp_path: Path,
) -> None:
    file = tmp_path / "file"
    file.touch()
    place = meeting(file)
    place.post_notices(notices(file))
    with pytest.raises(ConfigError):
        asyncio.run(place.publish(RECORD))
