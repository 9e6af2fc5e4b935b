"""Which records in files are believed, and how they are looked for."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from dask_runner.meeting import record_file
from dask_runner.meeting.by_file import FileMeeting, pauses
from dask_runner.meeting.record_directory import RECORDS
from tests.unit.records import KEY, RECORD, found, published

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dask_runner.meeting.record import Record


def _half(path: Path) -> None:
    _private(path, RECORD.dump()[:100])


def _private(path: Path, text: str) -> None:
    path.touch(0o600)
    path.write_text(text)


def _readable(path: Path) -> None:
    published(path)
    path.chmod(0o644)


def _linked(path: Path) -> None:
    published(path.with_name("other.json"))
    path.symlink_to("other.json")


def _binary(path: Path) -> None:
    path.touch(0o600)
    path.write_bytes(os.urandom(3000))


def _other_job(path: Path) -> None:
    published(path, replace(RECORD, key="slurm.4712.0"))


@pytest.mark.parametrize(
    ("lay", "word"),
    [
        pytest.param(lambda _: None, "does not exist", id="missing"),
        pytest.param(_half, "half-written", id="half"),
        pytest.param(lambda path: path.touch(0o600), "half-written", id="empty"),
        pytest.param(_binary, "no text", id="binary"),
        pytest.param(_readable, "can be read by others (mode 0644)", id="readable"),
        pytest.param(_other_job, "another launch (slurm.4712.0)", id="other job"),
        pytest.param(_linked, "symbolic link", id="link"),
        pytest.param(lambda path: os.mkfifo(path, 0o600), "no regular file", id="fifo"),
        pytest.param(lambda path: path.mkdir(0o700), "no regular file", id="directory"),
        pytest.param(
            lambda path: _private(path, " " * 70_000 + RECORD.dump()),
            "half-written",
            id="endless",
        ),
        pytest.param(
            lambda path: _private(path, '{"address": "tcp://10.0.0.1:8786"}'),
            "no record of ours",
            id="dask's own scheduler file",
        ),
    ],
)
def test_what_is_not_to_be_believed_is_named(
    tmp_path: Path, lay: Callable[[Path], None], word: str
) -> None:
    path = tmp_path / "record.json"
    lay(path)
    open_files = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    assert word in str(found(path))
    assert len(os.listdir("/proc/self/fd")) <= open_files + 1  # noqa: PTH208


def test_a_good_record_after_a_bad_one_is_found(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    _half(path)

    async def look() -> Record:
        meeting = FileMeeting([path], KEY)
        publish = asyncio.get_running_loop().call_later(
            0.1, path.write_text, RECORD.dump()
        )
        async with asyncio.timeout(5):
            async for record in meeting.records():
                publish.cancel()
                return record
        raise AssertionError

    assert asyncio.run(look()) == RECORD


def test_a_stale_record_is_offered_again_until_a_new_one_takes_its_place(
    tmp_path: Path,
) -> None:
    path = tmp_path / "record.json"
    published(path)
    new = replace(RECORD, nonce="cd" * 16, port=40001)

    async def look() -> tuple[Record, str, Record]:
        meeting = FileMeeting([path], KEY)
        records = meeting.records()
        async with asyncio.timeout(5):
            stale = await anext(records)
            trouble = meeting.trouble
            await FileMeeting([path], KEY).publish(new)
            return stale, trouble, await anext(records)

    stale, trouble, fresh = asyncio.run(look())
    assert (stale, fresh) == (RECORD, new)
    assert "c1 (127.0.0.1:40000) that does not answer" in trouble


def test_looks_become_rarer_so_that_many_nodes_do_not_hammer_a_file_system() -> None:
    seconds = list(islice(pauses(), 40))

    assert seconds[0] < 0.05
    assert all(0.5 < pause < 2 for pause in seconds[-20:])
    # Nodes that began together do not stay together.
    assert seconds != list(islice(pauses(), 40))


def test_what_a_killed_writer_has_left_is_cleared_and_nothing_else(
    tmp_path: Path,
) -> None:
    path = tmp_path / RECORDS / "record.json"
    path.parent.mkdir(0o700)
    for name in (".mine.1.aside", ".other.1.aside"):
        (path.parent / name).touch(0o600)
    with pytest.raises(OSError, match="not empty"):
        record_file.clear(path, "mine")
    assert [one.name for one in path.parent.iterdir()] == [".other.1.aside"]
    record_file.clear(path, "other")
    assert not path.parent.exists()


def test_a_file_is_written_aside_under_its_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[str] = []

    def move(directory: int, aside: str, name: str) -> None:
        moved.append(aside)
        os.replace(aside, name, src_dir_fd=directory, dst_dir_fd=directory)

    monkeypatch.setattr(record_file, "_move", move)
    record_file.write(tmp_path / "a" / "record.json", "text", "mark")
    (aside,) = moved
    assert aside.startswith(".mark.")
