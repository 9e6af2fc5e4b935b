"""A rank that ends before it has met the others: all end, at once, with its cause.

The ranks are those of a Slurm step, as far as they are told, each alone on its node:
so nobody knows of another but by the directory in which they meet.

It is long because each way to end early is tried with its own ranks.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import uuid
from typing import TYPE_CHECKING, Self

import pytest

from tests.programs import BEGIN, WAIT
from tests.ranks import catches, has_loaded
from tests.running import DASK_RUNNER, Run
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.running import Ended

SIZE = 3
#: Seconds in which all have to be gone, and for which they would wait for each other.
BOUND = 10.0
TIMEOUT = 100
WAITS = ("-c", BEGIN + WAIT)


class Step:
    """The ranks of one step."""

    def __init__(self, home: Path, work: Path) -> None:
        self.home = home
        self._work = work
        self._job = str(uuid.uuid4().int % 10**9)
        self._stack = contextlib.ExitStack()
        self.runs: dict[int, Run] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(
        self,
        rank: int,
        *args: str,
        more: Mapping[str, str] | None = None,
        before: tuple[str, ...] = (),
    ) -> Run:
        """Start a rank; *before* is the command that runs its program."""
        command = (*before, str(DASK_RUNNER), *(args or WAITS))
        return self._start(rank, command, more or {})

    def script(self, rank: int, text: str) -> Run:
        """Start a rank of a script that uses the library."""
        return self._start(rank, (sys.executable, "-c", text), {})

    def _start(
        self, rank: int, command: tuple[str, ...], more: Mapping[str, str]
    ) -> Run:
        env = {
            "HOME": str(self.home),
            "SLURM_JOB_ID": self._job,
            "SLURM_STEP_ID": "0",
            "SLURM_PROCID": str(rank),
            "SLURM_STEP_NUM_TASKS": str(SIZE),
            "SLURM_LOCALID": "0",
            "SLURM_NODEID": str(rank),
            "SLURM_STEP_NUM_NODES": str(SIZE),
            "SLURM_STEP_TASKS_PER_NODE": f"1(x{SIZE})",
            "DASK_RUNNER__TIMEOUT": str(TIMEOUT),
            "DASK_RUNNER__DASHBOARD": "False",
        }
        run = Run(command, cwd=self._work, env=env | dict(more))
        self.runs[rank] = self._stack.enter_context(run)
        return run

    def looks(self, rank: int, *args: str) -> Run:
        """Start a rank, and wait until it looks for the others, and hears signals."""
        run = self.start(rank, *args)
        until(lambda: has_loaded(run.process.pid, "_asyncio"))
        until(lambda: catches(run.process.pid, signal.SIGTERM))
        return run

    def ends(self) -> dict[int, Ended]:
        """Wait for all; they leave nothing where they meet."""
        ends = {rank: run.wait() for rank, run in sorted(self.runs.items())}
        left = [*self.home.iterdir(), *self._work.iterdir()]
        left = [path for path in left if path.name != ".config"]
        assert not left, [[*path.iterdir()] for path in left]
        return ends


@pytest.fixture
def step(tmp_path: Path) -> Iterator[Step]:
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    with Step(home, work) as step:
        yield step


def said(ends: Mapping[int, Ended]) -> str:
    return "".join(end.stderr for end in ends.values())


def statuses(ends: Mapping[int, Ended]) -> list[int]:
    return [end.status for end in ends.values()]


# --- signals ------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_a_rank_that_looks_for_rank_0_ends_all(
    step: Step, number: signal.Signals
) -> None:
    step.looks(1)
    struck = step.looks(2)
    struck.signal(number)
    step.start(0)

    ends = step.ends()

    assert statuses(ends) == [128 + number] * SIZE
    assert said(ends).count(f"rank 2 on {os.uname().nodename} got {number.name}") == 1
    assert "error" not in said(ends)


def test_a_signal_to_all_is_said_once(step: Step) -> None:
    runs = [step.looks(rank) for rank in (1, 2)]
    for run in runs:
        run.signal(signal.SIGTERM)
    step.start(0)

    ends = step.ends()

    assert statuses(ends) == [143] * SIZE
    assert said(ends).count(" got SIGTERM before the ranks had met") == 1


def test_a_signal_to_rank_0_is_told_to_those_that_come_after_its_end(
    step: Step,
) -> None:
    zero, _ = step.looks(0), step.looks(1)
    zero.signal(signal.SIGTERM)
    began = time.monotonic()
    assert zero.wait().status == 143
    assert time.monotonic() - began < BOUND
    assert list((step.home / ".dask-runner").glob("*.over"))
    late = step.start(2)
    late.process.wait(BOUND * 5)

    ends = step.ends()

    assert ends[2].status == 143, ends[2]
    assert ends[2].seconds < TIMEOUT
    assert not ends[2].stderr
    assert said(ends).count(" got SIGTERM before the cluster was ready") == 1


def test_a_signal_while_a_rank_begins_waits_until_it_can_be_told(step: Step) -> None:
    struck = step.start(2)
    # Blocked, and not yet caught: Python is still importing.
    until(lambda: blocks(struck.process.pid) or catches_term(struck))
    struck.signal(signal.SIGTERM)
    step.start(0)
    step.start(1)

    assert statuses(step.ends())[2] == 143


def blocks(pid: int) -> bool:
    with open(f"/proc/{pid}/status") as file:  # noqa: PTH123
        mask = file.read().partition("\nSigBlk:")[2].splitlines()[0]
    return bool(int(mask, 16) & 1 << (signal.SIGTERM - 1))


def catches_term(run: Run) -> bool:
    return catches(run.process.pid, signal.SIGTERM)


# --- errors -------------------------------------------------------------------


def test_an_error_of_a_rank_that_finds_no_rank_0_ends_all_with_its_cause(
    step: Step,
) -> None:
    step.looks(1)
    step.start(2, "--interface", "nosuch0", *WAITS).process.wait(BOUND * 5)
    step.start(0)

    ends = step.ends()

    assert statuses(ends) == [78] * SIZE
    assert said(ends).count("error: ") == 1
    assert "--interface nosuch0" in ends[2].stderr


def test_an_error_of_rank_0_before_there_is_a_hub_ends_all_with_its_cause(
    step: Step,
) -> None:
    step.looks(1)
    step.looks(2)
    step.start(0, "--interface", "nosuch0", *WAITS)

    ends = step.ends()

    assert ends[0].status == 78
    assert said(ends).count("error: ") == 1
    assert "--interface nosuch0" in ends[0].stderr


GONE = ("sh", "-c", 'mkdir gone; cd gone; rmdir ../gone; exec "$@"', "sh")


@pytest.mark.parametrize(
    ("args", "more", "before", "status", "word"),
    [
        (("--no-such", *WAITS), {}, (), 2, "there is no option"),
        (WAITS, {"DASK_RUNNER__TIMEOUT": "soon"}, (), 78, "TIMEOUT = 'soon'"),
        (WAITS, {}, GONE, 78, "the working directory is gone"),
    ],
    ids=["option", "configuration", "directory"],
)
def test_an_error_that_one_rank_alone_has_before_it_is_one_ends_all(
    step: Step,
    args: tuple[str, ...],
    more: Mapping[str, str],
    before: tuple[str, ...],
    status: int,
    word: str,
) -> None:
    step.looks(0)
    step.looks(1)
    step.start(2, *args, more=more, before=before)

    ends = step.ends()

    assert ends[0].status == ends[2].status == status
    assert said(ends).count("error: ") == 1
    assert word in ends[2].stderr


def test_an_error_that_all_ranks_have_is_said_once(step: Step) -> None:
    for rank in range(SIZE):
        step.start(rank, "--no-such", *WAITS)

    ends = step.ends()

    assert statuses(ends) == [2] * SIZE
    assert said(ends).count("there is no option") == 1


def test_with_min_workers_a_rank_that_fails_ends_nobody_else(step: Step) -> None:
    few = ("--min-workers", "2")
    code = BEGIN + "print(client.submit(sum, [1, 2]).result())"
    bad = ("--interface", "nosuch0")
    step.looks(2, *few, *bad, *WAITS)
    step.start(0, *few, "-c", code)
    step.start(1, *few, "-c", code)

    ends = step.ends()

    assert ends[0].status == 0
    assert ends[0].stdout == "3\n"
    assert "warning: lost rank 2" in ends[0].stderr
    assert "--interface nosuch0" in ends[0].stderr


# --- from Python ----------------------------------------------------------------

LIBRARY = """
from dask_runner import SlurmRunner
from distributed import Client
with SlurmRunner() as runner, Client(runner) as client:
    print("begun", flush=True)
"""


def waits(run: Run) -> bool:
    """Say whether a script waits for its cluster: its top process is a rank."""
    tops = [pid for pid, words in run.pids.items() if "library.top" in words.split()]
    return any(catches(pid, signal.SIGTERM) for pid in tops)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_a_script_that_waits_for_its_cluster_ends_all(
    step: Step, number: signal.Signals
) -> None:
    struck = step.script(2, LIBRARY)
    until(lambda: waits(struck))
    struck.signal(number)
    step.script(0, LIBRARY)
    step.script(1, LIBRARY)

    ends = step.ends()

    assert statuses(ends) == [128 + number] * SIZE
    assert said(ends).count(f" got {number.name} before the ranks had met") == 1
    assert "Traceback" not in said(ends)


def test_a_script_that_is_killed_while_it_waits_ends_all(step: Step) -> None:
    struck = step.script(2, LIBRARY)
    until(lambda: waits(struck))
    struck.signal(signal.SIGKILL)
    step.script(0, LIBRARY)
    step.script(1, LIBRARY)

    ends = step.ends()

    assert statuses(ends) == [69, 69, 137]
    assert said(ends).count("error: ") == 1
    assert "the script of rank 2 on " in said(ends)
