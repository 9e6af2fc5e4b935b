"""The record, and what somebody else has laid where it is going to be."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dask_runner.errors import ConfigError
from dask_runner.launch.world import World
from dask_runner.meeting.by_file import FileMeeting, file_meeting, node_meeting
from dask_runner.meeting.record import Record
from tests.attacks.stranger import STRANGER, attack, attacking

if TYPE_CHECKING:
    from collections.abc import Iterator

#: `squeue` tells all accounts what the names of a job's files will be.
KEY = "slurm.linux.9402.0"
WORLD = World("slurm", 0, 2, 0, 1, "9402", KEY, "file")
RECORD = Record(KEY, "ab" * 16, "c1", "127.0.0.1", 40000, "CERT", "KEY")

#: Reads what comes into a directory. Ends when it has seen the file that ends it.
READ = """
place = sys.argv[1]
print("ready", flush=True)
over = False
while not over:
    names = os.listdir(place)
    over = "over" in names
    for name in names:
        try:
            with open(place + "/" + name) as file:
                if "private_key" in file.read():
                    print("read it", flush=True)
        except OSError:
            pass
"""

#: Makes a directory of a mode.
LAY = "os.mkdir(sys.argv[1]); os.chmod(sys.argv[1], int(sys.argv[2]))"


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in a directory in which all may write."""
    directory = Path(tempfile.mkdtemp(prefix="shared-"))
    directory.chmod(0o777)
    monkeypatch.chdir(directory)
    yield directory
    shutil.rmtree(directory)


def published(meeting: FileMeeting) -> str:
    """Let rank 0 publish the record; return why it cannot."""
    try:
        asyncio.run(meeting.publish(RECORD))
    except ConfigError as error:
        return error.saw
    return ""


@pytest.mark.attack(
    "puts a link to a directory of yours where your job's record will be",
    "nothing: the link is not followed, and nothing of yours is replaced or removed",
)
def test_a_link_in_the_place_of_our_directory_is_not_followed(
    shared: Path, tmp_path: Path
) -> None:
    keep = tmp_path / "keep"
    keep.mkdir(0o700)
    mine = keep / f"{KEY}.json"
    mine.write_text("mine")
    done = attack("os.symlink(*sys.argv[1:])", keep, shared / ".dask-runner")
    assert not done.returncode, done.stderr
    meeting = file_meeting(WORLD, {}, None)
    why = published(meeting)
    assert mine.read_text() == "mine"
    meeting.withdraw()
    assert mine.read_text() == "mine"
    assert "is in a directory that is a symbolic link" in why


@pytest.mark.parametrize("mode", [0o777, 0o755], ids=oct)
@pytest.mark.attack(
    "creates the directory of your job's record before you do",
    "nothing: the directory belongs to them, so the record goes elsewhere or "
    "the job says why it cannot",
)
def test_a_directory_of_somebody_else_gets_no_record(
    shared: Path, tmp_path: Path, mode: int
) -> None:
    theirs = shared / ".dask-runner"
    done = attack(LAY, theirs, mode)
    assert not done.returncode, done.stderr
    why = published(file_meeting(WORLD, {}, None))
    assert not list(theirs.iterdir())
    assert f"is in a directory of uid {STRANGER}" in why
    # The home is not theirs.
    home = file_meeting(WORLD, {"HOME": str(tmp_path)}, None)
    assert not published(home)
    assert not list(theirs.iterdir())
    assert home.files[0] == str(tmp_path / ".dask-runner" / f"{KEY}.json")
    assert Path(home.files[0]).exists()


@pytest.mark.attack(
    "creates the directory in /tmp where the ranks of a node would meet, before "
    "they do",
    "nothing: the directory belongs to them, so no record is written into it",
)
def test_a_directory_laid_among_the_temporary_files_gets_no_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    theirs = Path(tempfile.gettempdir()) / f"dask-runner-local-{KEY}"
    done = attack(LAY, theirs, 0o777)
    assert not done.returncode, done.stderr
    try:
        # Neither home nor working directory can be written, not even by root.
        monkeypatch.chdir("/proc")
        why = published(node_meeting(WORLD, {"HOME": "/proc"}))
        assert not list(theirs.iterdir())
        assert f"is in a directory of uid {STRANGER}" in why
    finally:
        shutil.rmtree(theirs)


@pytest.mark.attack(
    "reads a record on a file system that shows all files to all accounts "
    "(vfat, some CIFS)",
    "an empty file: rank 0 finds out before it writes the keys, and removes it",
)
def test_a_file_system_without_modes_gets_no_record(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_modes(monkeypatch)
    with attacking(READ, shared) as stranger:
        why = published(file_meeting(WORLD, {}, str(shared / "record.json")))
        left = {path.name for path in shared.iterdir()}
        (shared / "over").touch()
        assert stranger.stdout is not None
        assert not stranger.stdout.read()
    assert not left
    assert "shows files to others (mode 0777)" in why


def without_modes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each file be as on vfat: everybody's, and of no other mode."""
    make, change = os.open, os.fchmod

    def as_it_is(path: Any, flags: int, *how: Any, **more: Any) -> int:
        descriptor = make(path, flags, *how, **more)
        if flags & os.O_CREAT:
            change(descriptor, 0o777)
        return descriptor

    def refuse(descriptor: int, mode: int) -> None:
        del descriptor, mode
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "open", as_it_is)
    monkeypatch.setattr(os, "fchmod", refuse)
