"""Directories that are full, closed or oddly named: one message, and nothing left."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.local.test_bad_input import CONFIG, SLURM, one_message

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import DaskRunner, Require

#: One rank of a job whose record goes into files.
ONE = SLURM | {"SLURM_NTASKS": "1", "SLURM_STEP_NUM_TASKS": "1"}


@contextmanager
def mounted(path: Path, require: Require, options: str) -> Iterator[Path]:
    """Mount a small disk in memory at a path."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "none", str(path)]
    with require("leave to mount a small disk", "local"):
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(done.stderr.strip())
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


@contextmanager
def full(path: Path, require: Require) -> Iterator[Path]:
    """Mount a disk on which directories can be made, and nothing be written."""
    with mounted(path, require, "size=4k") as disk:
        (disk / "full").write_bytes(b"x" * 4096)
        yield disk
        assert [one.name for one in disk.iterdir()] == ["full"]


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_full_disk_for_scratch(
    dask_runner: DaskRunner, tmp_path: Path, require: Require, ranks: int
) -> None:
    with full(tmp_path / "disk", require) as disk:
        args = ("-n", ranks, "--local-directory", disk, "-c", "print('ran')")
        one_message(dask_runner(*args), CONFIG, "No space left on device")


def test_a_full_disk_for_temporary_files_is_passed_over(
    dask_runner: DaskRunner, tmp_path: Path, require: Require
) -> None:
    with full(tmp_path / "disk", require) as disk:
        ended = dask_runner("-n", 2, "-c", "print('ran')", env={"TMPDIR": str(disk)})
    assert (ended.status, ended.stdout) == (0, "ran\n"), ended


def test_a_full_home_leaves_nothing_and_the_working_directory_serves(
    dask_runner: DaskRunner, tmp_path: Path, require: Require
) -> None:
    with full(tmp_path / "home", require) as home:
        ended = dask_runner("-c", "print('ran')", env=ONE | {"HOME": str(home)})
    assert (ended.status, ended.stdout) == (0, "ran\n"), ended


def test_a_full_home_and_nothing_else(
    dask_runner: DaskRunner, tmp_path: Path, require: Require
) -> None:
    with full(tmp_path / "home", require) as home:
        ended = dask_runner("-c", "1", env=ONE | {"HOME": str(home)}, cwd=home)
        one_message(ended, CONFIG, "No space left on device")


def test_a_home_that_is_read_only_is_no_obstacle(
    dask_runner: DaskRunner, tmp_path: Path, require: Require
) -> None:
    with mounted(tmp_path / "home", require, "ro") as home:
        ended = dask_runner("-c", "print('ran')", env=ONE | {"HOME": str(home)})
    assert (ended.status, ended.stdout) == (0, "ran\n"), ended


@pytest.mark.parametrize(
    "option", ["--scheduler-file", "--local-directory"], ids=lambda text: text[2:]
)
def test_a_home_of_nobody(dask_runner: DaskRunner, option: str) -> None:
    ended = dask_runner("-n", 2, option, "~no-such-user/x", "-c", "1")
    one_message(ended, CONFIG, "~no-such-user")


def test_a_name_that_is_no_text(dask_runner: DaskRunner, tmp_path: Path) -> None:
    odd = os.fsdecode(bytes(tmp_path / "caf") + b"\xe9")
    os.mkdir(odd)  # noqa: PTH102  pathlib has no other name for it
    ended = dask_runner("-n", 2, "-c", "print('ran')", env={"TMPDIR": odd})
    assert (ended.status, ended.stdout) == (0, "ran\n"), ended
    ended = dask_runner("-n", 2, "--local-directory", odd, "-c", "1")
    one_message(ended, CONFIG, r"caf\xe9 has a name that is no UTF-8")
