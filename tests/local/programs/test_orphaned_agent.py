"""The end of an agent whose parent dies while the agent imports."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dask_runner import linux

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = Path(__file__).parents[1] / "scripts" / "imports_for_ever.py"


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[tuple[int, int, int]]:
    """A parent, its child that imports, and a fork of the child: their numbers."""
    tmp_path.chmod(0o700)
    (tmp_path / "rank").mkdir(mode=0o700)  # another is not its own
    (tmp_path / "rank" / "played").mkdir()
    (tmp_path / "rank" / "played" / "log").write_text("x")
    with subprocess.Popen(
        [sys.executable, str(SCRIPT), str(tmp_path / "rank"), str(record(tmp_path))],
        stdout=subprocess.PIPE,
        text=True,
    ) as top:
        assert top.stdout is not None
        child, fork = map(int, top.stdout.readline().split())
        yield top.pid, child, fork
        for pid in (top.pid, child, fork):
            if linux.process(pid):
                os.kill(pid, signal.SIGKILL)


def test_it_ends_with_its_forks_and_removes_the_directory_and_the_record(
    agent: tuple[int, int, int], tmp_path: Path
) -> None:
    top, child, fork = agent
    ends = [os.pidfd_open(pid) for pid in (child, fork)]

    os.kill(top, signal.SIGKILL)

    assert [ended(pidfd) for pidfd in ends] == [True, True]
    assert list(tmp_path.rglob("*")) == []


def test_it_lives_while_its_parent_does(
    agent: tuple[int, int, int], tmp_path: Path
) -> None:
    _, child, _ = agent

    os.kill(child, signal.SIGUSR2)  # as a launcher may send it

    assert not ended(os.pidfd_open(child), 0.2)
    assert (tmp_path / "rank" / "played" / "log").exists()
    assert record(tmp_path).exists()


def record(place: Path) -> Path:
    return place / "record.json"


def ended(pidfd: int, seconds: float = 30.0) -> bool:
    try:
        return bool(select.select([pidfd], [], [], seconds)[0])
    finally:
        os.close(pidfd)
