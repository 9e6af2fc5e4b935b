"""What a rank does before the hub knows it is known on its node: a death, a signal."""

from __future__ import annotations

import os
import signal
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.programs import BEGIN, WAIT

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.running import DaskRunner, Ended, Run

#: Seconds for all to arrive: nothing here may take them.
TIMEOUT = 100
#: Seconds in which a rank has to end after a signal.
BOUND = 10.0

CODE = BEGIN + WAIT


def until(reached: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def status_of(pid: int, field: str) -> str:
    text = Path(f"/proc/{pid}/status").read_text()
    return text.partition(f"\n{field}:")[2].splitlines()[0].strip()


def catches(pid: int, number: int) -> bool:
    return bool(int(status_of(pid, "SigCgt"), 16) & 1 << (number - 1))


def is_whole(pid: int) -> bool:
    """Whether it is more than a follower: it hears signals in an event loop."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    return "_asyncio" in maps and catches(pid, signal.SIGTERM)


def sockets(text: str) -> list[str]:
    """Return the state of each socket with such a name: 01 listens, 03 is connected."""
    lines = Path("/proc/net/unix").read_text().splitlines()
    return [line.split()[5] for line in lines if text in line]


class Job:
    """Ranks of one launch that nobody has started together."""

    def __init__(self, dask_runner: DaskRunner, directory: Path, size: int) -> None:
        self._start = dask_runner.start
        self.job = f"test-{uuid.uuid4().hex[:8]}"
        self._directory = directory
        directory.chmod(0o700)
        self._common = {
            "DASKRUNNER_JOB_ID": self.job,
            "DASKRUNNER_SIZE": str(size),
            "DASKRUNNER_DIRECTORY": str(directory),
            "TMPDIR": str(directory),
        }

    def rank(self, number: int, *options: str | int, code: str = CODE) -> Run:
        return self._start(
            *("--timeout", str(TIMEOUT), *map(str, options), "-c", code),
            cwd=self._directory,
            env=self._common | {"DASKRUNNER_RANK": str(number)},
        )

    def alone(self, number: int) -> Run:
        """Start one that plays its part itself, and never finds the hub."""
        options = "--scheduler-file", "nowhere.json"
        return self.rank(number, *options)

    def leader_before_it_is_one(self, *options: str | int) -> Run:
        """Start rank 0, and stop it when its door is there and nobody behind it."""
        run = self.rank(0, *options)
        until(lambda: sockets(self.job))
        run.signal(signal.SIGSTOP)
        return run

    def until_connected(self, count: int) -> None:
        """Wait until so many stand before the door."""
        until(lambda: len(sockets(self.job)) > count)


@pytest.fixture
def job(dask_runner: DaskRunner, tmp_path: Path) -> Job:
    return Job(dask_runner, tmp_path, 2)


def at_once(run: Run, status: int) -> Ended:
    ended = run.wait()
    assert ended.status == status, ended
    assert ended.seconds < TIMEOUT, ended
    return ended


# --- deaths -------------------------------------------------------------------


def test_a_follower_killed_before_its_leader_hears_it_is_named_at_once(
    job: Job,
) -> None:
    leader, follower = job.leader_before_it_is_one(), job.rank(1)
    job.until_connected(1)
    # It has introduced itself when it waits for the answer: with a deadline.
    until(lambda: catches(follower.process.pid, signal.SIGTERM))
    until(lambda: waits_in("unix_stream", "poll", pid=follower.process.pid))
    follower.signal(signal.SIGKILL)
    follower.wait()
    leader.signal(signal.SIGCONT)
    ended = at_once(leader, 75)
    assert "error: rank 1 on " in ended.stderr
    assert " died before it joined" in ended.stderr


def waits_in(*places: str, pid: int) -> bool:
    return any(place in Path(f"/proc/{pid}/wchan").read_text() for place in places)


def test_a_rank_that_plays_alone_and_is_killed_is_named_at_once(job: Job) -> None:
    leader, other = job.rank(0), job.alone(1)
    until(lambda: is_whole(other.process.pid))
    other.signal(signal.SIGKILL)
    ended = at_once(leader, 75)
    assert "error: rank 1 on " in ended.stderr
    assert " died before it joined" in ended.stderr


def test_with_min_workers_the_others_go_on_without_it(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    job = Job(dask_runner, tmp_path, 3)
    code = BEGIN + "print(client.submit(sum, [1, 2]).result())"
    few = "--min-workers", 2
    leader = job.rank(0, *few, code=code)
    other = job.alone(2)
    until(lambda: is_whole(other.process.pid))
    other.signal(signal.SIGKILL)
    leader.wait_for("warning: lost rank 2")
    follower = job.rank(1, *few, code=code)
    ended = at_once(leader, 0)
    assert ended.stdout == "3\n"
    assert ": it died before it joined" in ended.stderr
    assert follower.wait().status == 0


def test_an_error_of_a_rank_before_it_joined_is_told_by_the_hub(job: Job) -> None:
    leader, other = job.rank(0), job.rank(1, "--no-such-option")
    ended = at_once(leader, 2)
    assert "error: rank 1 on " in ended.stderr
    assert "failed before it joined: No such option" in ended.stderr
    assert other.wait().status == 2


@pytest.mark.parametrize("how", ["follower", "alone"])
def test_a_leader_that_dies_is_told_of_at_once_by_one_of_its_node(
    job: Job, how: str
) -> None:
    leader = job.leader_before_it_is_one()
    other = job.rank(1) if how == "follower" else job.alone(1)
    job.until_connected(1)
    leader.signal(signal.SIGKILL)
    ended = at_once(other, 75)
    assert "error: rank 0 on " in ended.stderr
    assert " died before the ranks had met" in ended.stderr
    leader.wait()


def test_a_leader_that_fails_takes_those_along_that_are_not_known_yet(
    job: Job,
) -> None:
    leader, other = job.rank(0), job.alone(1)
    until(lambda: is_whole(other.process.pid))
    leader.signal(signal.SIGTERM)
    assert at_once(leader, 143).stderr.count("error") == 0
    assert not at_once(other, 143).stderr


# --- the local launcher ---------------------------------------------------------


def rank_of(pid: int) -> str:
    environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    ranks = [one[16:] for one in environ if one.startswith(b"DASKRUNNER_RANK=")]
    return ranks[0].decode() if ranks else ""


def local_ranks(run: Run) -> dict[str, int]:
    children = Path(f"/proc/{run.process.pid}/task/{run.process.pid}/children")
    return {rank_of(int(pid)): int(pid) for pid in children.read_text().split()}


def test_the_local_launcher_tells_how_a_rank_was_killed(
    dask_runner: DaskRunner,
) -> None:
    run = dask_runner.start("-n", 3, "--timeout", TIMEOUT, "-c", CODE)
    until(lambda: "2" in local_ranks(run))
    os.kill(local_ranks(run)["2"], signal.SIGKILL)
    ended = at_once(run, 75)
    assert "error: rank 2 on " in ended.stderr
    assert " was killed by SIGKILL before it joined" in ended.stderr


def test_the_local_launcher_ends_the_others_of_a_rank_0_that_was_killed(
    dask_runner: DaskRunner,
) -> None:
    run = dask_runner.start("-n", 3, "--timeout", TIMEOUT, "-c", CODE)
    until(lambda: "2" in local_ranks(run))
    os.kill(local_ranks(run)["0"], signal.SIGKILL)
    began = time.monotonic()
    ended = at_once(run, 137)
    assert time.monotonic() - began < BOUND, ended
    assert "error: rank 0 on " in ended.stderr
    assert " was killed by SIGKILL" in ended.stderr


@pytest.mark.parametrize("rank", ["0", "1", "2"])
def test_sigterm_to_one_rank_before_they_have_met_ends_all(
    dask_runner: DaskRunner, rank: str
) -> None:
    run = dask_runner.start("-n", 3, "--timeout", TIMEOUT, "-c", CODE)
    until(lambda: "2" in local_ranks(run))
    os.kill(local_ranks(run)[rank], signal.SIGTERM)
    began = time.monotonic()
    ended = at_once(run, 143)
    assert time.monotonic() - began < BOUND, ended


# --- signals ------------------------------------------------------------------


def test_a_signal_to_a_follower_that_looks_for_its_leader_ends_all(job: Job) -> None:
    follower = job.rank(1)
    until(lambda: catches(follower.process.pid, signal.SIGTERM))
    follower.signal(signal.SIGTERM)
    leader = job.rank(0)
    assert not at_once(leader, 143).stdout
    assert at_once(follower, 143).seconds < 2 * BOUND


def test_a_signal_to_a_follower_without_a_leader_ends_it(job: Job) -> None:
    follower = job.rank(1)
    until(lambda: catches(follower.process.pid, signal.SIGTERM))
    began = time.monotonic()
    follower.signal(signal.SIGTERM)
    ended = at_once(follower, 143)
    assert time.monotonic() - began < BOUND, ended


def test_a_signal_to_a_follower_of_a_leader_that_stands_still_ends_it(
    job: Job,
) -> None:
    leader, follower = job.leader_before_it_is_one(), job.rank(1)
    job.until_connected(1)
    began = time.monotonic()
    follower.signal(signal.SIGTERM)
    ended = at_once(follower, 143)
    assert time.monotonic() - began < BOUND, ended
    leader.signal(signal.SIGCONT)
    assert at_once(leader, 143).stderr.count("error") == 0


def test_a_signal_to_a_rank_that_plays_alone_ends_all(job: Job) -> None:
    leader, other = job.rank(0), job.alone(1)
    until(lambda: is_whole(other.process.pid))
    other.signal(signal.SIGTERM)
    assert at_once(leader, 143).stderr.count("error") == 0
    assert at_once(other, 143).stderr.count("error") == 0
