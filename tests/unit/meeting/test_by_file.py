"""How ranks meet by a file."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from dask_runner.errors import ConfigError
from dask_runner.meeting import by_file as files
from dask_runner.meeting.by_file import FileMeeting, file_meeting
from dask_runner.meeting.record import with_address
from tests.unit.records import KEY, RECORD, found, nothing_left, published, world

# --- writing ----------------------------------------------------------------


def test_the_file_is_ours_alone(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "record.json"
    before = os.umask(0)
    try:
        published(path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [item.name for item in path.parent.iterdir()] == ["record.json"]


def test_any_path_will_do(hostile_path: Path) -> None:
    path = hostile_path / 'a "b" {c}.json'
    published(path)
    assert found(path) == RECORD


def test_a_second_record_of_the_same_cluster_takes_the_place_of_the_first(
    tmp_path: Path,
) -> None:
    path = tmp_path / "record.json"
    meeting = published(path)
    complete = with_address(RECORD, "tcp://127.0.0.1:1")
    asyncio.run(meeting.publish(complete))
    assert found(path) == complete


def test_the_first_directory_that_can_be_written_is_taken(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    paths = [file / "record.json", tmp_path / "good" / "record.json"]
    meeting = FileMeeting(paths, KEY)
    asyncio.run(meeting.publish(RECORD))
    assert found(*paths) == RECORD


def test_no_directory_that_can_be_written_is_an_error_that_names_each(
    tmp_path: Path,
) -> None:
    file = tmp_path / "file"
    file.touch()
    meeting = FileMeeting([file / "a.json", file / "b.json"], KEY)
    with pytest.raises(ConfigError) as caught:
        asyncio.run(meeting.publish(RECORD))
    assert str(file / "a.json") in caught.value.saw
    assert str(file / "b.json") in caught.value.saw
    assert "--scheduler-file" in caught.value.do


def test_a_directory_in_the_place_of_the_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "record.json").mkdir()
    with pytest.raises(ConfigError, match="directory"):
        published(tmp_path / "record.json")
    assert [item.name for item in tmp_path.iterdir()] == ["record.json"]


def test_that_the_address_cannot_be_added_is_an_error_with_a_name(
    tmp_path: Path,
) -> None:
    path = tmp_path / "d" / "record.json"
    meeting = published(path)
    shutil.rmtree(path.parent)
    path.parent.touch()
    with pytest.raises(ConfigError):
        asyncio.run(meeting.publish(with_address(RECORD, "tcp://127.0.0.1:1")))


def test_a_link_in_the_place_of_the_file_is_replaced_and_not_followed(
    tmp_path: Path,
) -> None:
    other, path = tmp_path / "other", tmp_path / "record.json"
    other.write_text("precious")
    path.symlink_to(other)
    published(path)
    assert other.read_text() == "precious"
    assert found(path) == RECORD


@pytest.mark.parametrize(
    ("kind", "local_size", "copies"),
    [
        ("nfs4", 2, ["home"]),
        ("ext4", 2, ["home", "work"]),
        ("ext4", 4, ["home"]),
        ("tmpfs", 4, ["home", "work"]),
        ("overlay", 4, ["home", "work"]),
        ("", 4, ["home", "work"]),
    ],
)
def test_there_is_one_copy_where_all_ranks_see_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    local_size: int,
    copies: list[str],
) -> None:
    monkeypatch.setattr(files, "kind_of", lambda _: kind)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    environ = {"HOME": str(tmp_path / "home")}
    meeting = file_meeting(world(size=4, local_size=local_size), environ, None)
    for record in (RECORD, with_address(RECORD, "tcp://127.0.0.1:1")):
        asyncio.run(meeting.publish(record))
        there = sorted(path.parts[-3] for path in tmp_path.rglob("*.json"))
        assert there == copies
    meeting.withdraw()
    assert not list(tmp_path.rglob("*.json"))


def test_a_home_that_cannot_be_written_makes_the_working_directory_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "kind_of", lambda _: "nfs4")
    monkeypatch.chdir(tmp_path)
    meeting = file_meeting(world(), {"HOME": "/proc"}, None)
    asyncio.run(meeting.publish(RECORD))
    written = [path for path in map(Path, meeting.files) if path.exists()]
    assert written == [tmp_path / files.RECORDS / f"{KEY}.json"]
    meeting.withdraw()
    assert nothing_left(tmp_path)


# --- what stays behind ------------------------------------------------------


def test_the_file_and_a_directory_of_ours_are_removed(tmp_path: Path) -> None:
    published(tmp_path / files.RECORDS / "record.json").withdraw()
    assert nothing_left(tmp_path)


def test_a_directory_of_the_users_is_kept(tmp_path: Path) -> None:
    published(tmp_path / "mine" / "record.json").withdraw()
    assert nothing_left(tmp_path / "mine")


def test_a_directory_that_was_replaced_meanwhile_is_kept(tmp_path: Path) -> None:
    directory = tmp_path / files.RECORDS
    meeting = published(directory / "record.json")
    directory.rename(tmp_path / "away")
    directory.mkdir()
    meeting.withdraw()
    assert directory.exists()


def test_the_file_of_another_cluster_is_kept(tmp_path: Path) -> None:
    path = tmp_path / files.RECORDS / "record.json"
    first = published(path)
    published(path, replace(RECORD, nonce="another"))
    first.withdraw()
    assert json.loads(path.read_text())["runner"]["nonce"] == "another"


def test_a_reader_removes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    published(path)
    FileMeeting([path], KEY).withdraw()
    assert path.exists()


def test_that_the_file_is_gone_already_is_no_error(tmp_path: Path) -> None:
    meeting = published(tmp_path / "d" / "record.json")
    shutil.rmtree(tmp_path / "d")
    meeting.withdraw()
    meeting.withdraw()


def test_clusters_that_come_and_go_in_one_directory_do_not_trip_each_other(
    tmp_path: Path,
) -> None:
    directory = tmp_path / files.RECORDS

    def come_and_go(name: str) -> None:
        for _ in range(100):
            published(directory / name).withdraw()

    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(come_and_go, ["a.json", "b.json", "c.json"]))
    assert nothing_left(tmp_path)


# --- places -----------------------------------------------------------------


def test_without_a_name_the_home_and_the_working_directory_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    meeting = file_meeting(world(), {"HOME": "/home/user"}, None)
    here = tmp_path / ".dask-runner" / f"{KEY}.json"
    assert meeting.trouble == (
        f"/home/user/.dask-runner/{KEY}.json was not looked at; "
        f"{here} was not looked at"
    )
    assert str(here) in file_meeting(world(), {}, None).trouble


def test_the_scheduler_file_takes_the_job_id_and_a_tilde(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", "/home/user")
    meeting = file_meeting(world(), {}, "~/s-{job_id}.json")
    assert meeting.trouble.startswith("/home/user/s-4711.json ")
