"""Records on a disk that is full."""

from __future__ import annotations

import asyncio
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from dask_runner.errors import ConfigError
from dask_runner.meeting import by_file as files
from tests.unit.records import KEY, published
from tests.users import ordinary

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Require


@contextmanager
def small_disk(path: Path, require: Require) -> Iterator[None]:
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4k", "none", str(path)]
    with require("leave to mount a small disk", "local"):
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(done.stderr.strip())
    try:
        yield
    finally:
        subprocess.run(["umount", str(path)], check=True)


def test_a_full_disk_is_an_error_and_leaves_no_half_file(
    tmp_path: Path, require: Require
) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, require):
        (disk / "full").write_bytes(b"x" * 4096)
        with pytest.raises(ConfigError, match="No space"):
            published(disk / "record.json")
        assert [item.name for item in disk.iterdir()] == ["full"]


def test_what_was_made_for_a_record_that_does_not_fit_is_gone_again(
    tmp_path: Path, require: Require
) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, require):
        (disk / "full").write_bytes(b"x" * 4096)
        with pytest.raises(ConfigError, match="No space"):
            published(disk / "a" / files.RECORDS / "record.json")
        assert [item.name for item in disk.iterdir()] == ["full"]


def test_a_directory_into_which_this_rank_may_not_look_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a container's user that is not the owner of the home."""
    monkeypatch.setattr(files, "HOPELESS_SECONDS", 0.2)
    with ordinary() as directory:
        hidden = directory / "hidden"
        hidden.mkdir()
        meeting = files.FileMeeting((hidden / files.RECORDS / "record.json",), KEY)
        hidden.chmod(0)

        async def look() -> None:
            async for _ in meeting.records():
                pass

        try:
            with pytest.raises(ConfigError, match="Permission denied"):
                asyncio.run(look())
        finally:
            hidden.chmod(0o700)
