"""Notices, by which all ranks of a launch end: nobody else can leave one."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dask_runner.meeting.by_file import FileMeeting
from dask_runner.meeting.file_notices import FileNotices
from dask_runner.meeting.notice import Notice
from dask_runner.meeting.record import Record
from tests.attacks.stranger import STRANGER, attack

if TYPE_CHECKING:
    from collections.abc import Iterator

#: `squeue` tells all accounts what the names of a job's files will be.
KEY = "slurm.linux.9402.0"
NAME = f"{KEY}.over"
RECORD = Record(KEY, "ab" * 16, "c1", "127.0.0.1", 40000, "CERT", "KEY")

#: Writes a file of a mode, for others to take for ours.
LAY = """
with open(sys.argv[1], "w") as file:
    file.write(sys.argv[2])
os.chmod(sys.argv[1], int(sys.argv[3]))
"""
ADD = 'open(sys.argv[1], "a").write("0-9\\n")'


def notice(status: int) -> Notice:
    saw = "rank 1 on c2 failed"
    return Notice(KEY, 1, "c2", status, saw, "", "", 600.0)


@pytest.fixture
def shared() -> Iterator[Path]:
    """Let all write into a directory that the user has named for the record."""
    directory = Path(tempfile.mkdtemp(prefix="shared-"))
    directory.chmod(0o777)
    yield directory
    shutil.rmtree(directory)


def notices(directory: Path, size: int = 3) -> FileNotices:
    return FileNotices(meeting(directory), KEY, size)


def meeting(directory: Path) -> FileMeeting:
    return FileMeeting([directory / "record.json"], KEY)


async def found(directory: Path) -> Record:
    """Look for the record as a rank does that another one lets wait."""
    place = meeting(directory)
    place.post_notices(notices(directory))
    publish = asyncio.get_running_loop().call_later(
        0.2, lambda: asyncio.ensure_future(meeting(directory).publish(RECORD))
    )
    try:
        async with asyncio.timeout(20):
            return await anext(place.records())
    finally:
        publish.cancel()


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o666], ids=oct)
@pytest.mark.attack(
    "leaves a notice that your job has failed, where its ranks meet",
    "nothing: ranks ignore a notice that is not yours",
)
def test_a_notice_of_another_account_ends_nobody(shared: Path, mode: int) -> None:
    done = attack(LAY, shared / NAME, notice(143).dump(), mode)
    assert not done.returncode, done.stderr
    assert (shared / NAME).stat().st_uid == STRANGER

    assert asyncio.run(found(shared)) == RECORD
    assert notices(shared).find() is None


@pytest.mark.attack(
    "puts a file or a link where your job's ranks would leave a notice",
    "nothing: the notice replaces it, and the link's target stays as it is",
)
def test_what_lies_in_the_way_keeps_no_notice_off(shared: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text(notice(1).dump())
    mine.chmod(0o600)
    before = mine.read_text()
    done = attack("os.symlink(*sys.argv[1:])", mine, shared / NAME)
    assert not done.returncode, done.stderr
    assert notices(shared).find() is None
    notices(shared).sign([0])

    assert notices(shared).leave(notice(78)) is True

    left = notices(shared).find()
    assert left is not None
    assert left.status == 78
    assert mine.read_text() == before


@pytest.mark.attack(
    "signs a notice in a rank's place, so that it is removed before all have read it",
    "nothing: others can neither read nor write it",
)
def test_nobody_else_can_sign_a_notice(shared: Path) -> None:
    notices(shared).leave(notice(78))

    for code in (ADD, "print(open(sys.argv[1]).read())"):
        done = attack(code, shared / NAME)
        assert "PermissionError" in done.stderr
        assert not done.stdout

    assert notices(shared).signed() == {1}
    assert (shared / NAME).stat().st_mode & 0o777 == 0o600
