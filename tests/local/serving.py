"""A served cluster as its owner meets it: by commands, and by its file."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask_runner.meeting import cluster_directory
from tests.running import DASK_RUNNER, Ended, Run

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 60


@contextmanager
def serving(*args: str, **how: Any) -> Iterator[Run]:
    """A served cluster of two ranks that is ready."""
    with Run((str(DASK_RUNNER), "serve", "-n", "2", *args), **how) as run:
        run.wait_for("ready after")
        yield run


def call(home: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(DASK_RUNNER), *args],
        env={"PATH": os.environ["PATH"], "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def file_of(run: Run, name: str = "lab") -> Path:
    return cluster_directory.path_of(name, {"HOME": str(run.home)})


def rank_0(run: Run) -> int:
    """Return the process with the hub."""
    (found,) = (
        pid
        for pid, words in run.tops.items()
        if "-m dask_runner serve" in words and "DASKRUNNER_RANK=0" in _environ(pid)
    )
    return found


def _environ(pid: int) -> list[str]:
    """Return a process's variables; none if it has ended meanwhile."""
    try:
        return Path(f"/proc/{pid}/environ").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def stopped(run: Run, name: str = "lab") -> Ended:
    ended = call(run.home, "stop", name)
    assert ended.stderr == f"dask-runner: the cluster {name!r} has ended\n"
    assert ended.returncode == 0
    return run.wait()
