"""What a rank does before the hub knows it is known on its node: a death, a signal."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.programs import BEGIN, WAIT
from tests.ranks import Job, TwoNodes, catches, ended, has_loaded, native
from tests.running import DASK_RUNNER
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.running import Run

#: Seconds in which a rank has to end after a signal.
BOUND = 10.0

KILLED = 128 + signal.SIGKILL

CODE = "-c", BEGIN + WAIT
#: A rank with these plays its part itself, and never finds the hub.
ALONE = ("--scheduler-file", "nowhere.json", *CODE)


@pytest.fixture(scope="module", params=["Python", "C"])
def program(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    if request.param == "C":
        return native(tmp_path_factory.mktemp("native"))
    return DASK_RUNNER


@pytest.fixture
def job(tmp_path: Path, program: Path) -> Iterator[Job]:
    with Job(tmp_path, program=program) as job:
        yield job


def leader_before_it_is_one(job: Job) -> Run:
    """Start rank 0, and stop it when its door is there and nobody behind it."""
    run = job.rank(0, *CODE)
    until(job.sockets)
    run.signal(signal.SIGSTOP)
    return run


def connected(job: Job, *args: str) -> Run:
    """Start rank 1, and wait until it stands before the leader's door."""
    before = job.sockets()
    run = job.rank(1, *args)
    until(lambda: job.sockets() > before)
    return run


def alone(job: Job) -> Run:
    """Start rank 1, and wait until it plays its part itself."""
    run = job.rank(1, *ALONE)
    until(lambda: has_loaded(run.process.pid, "_asyncio"))
    until(lambda: catches(run.process.pid, signal.SIGTERM))
    return run


# --- deaths -------------------------------------------------------------------


def test_a_follower_killed_before_its_leader_hears_it_is_named_at_once(
    job: Job,
) -> None:
    leader, follower = leader_before_it_is_one(job), connected(job, *CODE)
    # The leader finds what it has said, and then its end.
    until(lambda: has_said_all(follower))
    follower.signal(signal.SIGKILL)
    follower.wait()
    leader.signal(signal.SIGCONT)
    said = ended(leader, 75).stderr
    assert "error: rank 1 on " in said
    assert " died before it joined" in said


def has_said_all(follower: Run) -> bool:
    """Whether it waits for the answer, which nothing else lets it sleep for."""
    process = Path(f"/proc/{follower.process.pid}")
    stat = process.joinpath("stat").read_text()
    wait = process.joinpath("wchan").read_text()
    asleep = stat.rpartition(")")[2].split()[0] == "S"
    return asleep and "sleep" not in wait


def test_a_rank_that_plays_alone_and_is_killed_is_named_at_once(job: Job) -> None:
    leader, other = job.rank(0, *CODE), alone(job)
    other.signal(signal.SIGKILL)
    said = ended(leader, 75).stderr
    assert "error: rank 1 on " in said
    assert " died before it joined" in said


def test_with_min_workers_the_others_go_on_without_it(
    tmp_path: Path, program: Path
) -> None:
    few = ("--min-workers", "2")
    code = (*few, "-c", BEGIN + "print(client.submit(sum, [1, 2]).result())")
    with Job(tmp_path, 3, program) as job:
        leader = job.rank(0, *code)
        other = alone(job)
        other.signal(signal.SIGKILL)
        leader.wait_for("warning: lost rank 1")
        follower = job.rank(2, *code)
        end = ended(leader, 0)
        assert end.stdout == "3\n"
        assert ": it died before it joined" in end.stderr
        assert follower.wait().status == 0


def test_an_error_of_a_rank_before_it_joined_is_told_by_the_hub(job: Job) -> None:
    leader, other = job.rank(0, *CODE), job.rank(1, "--no-such-option", *CODE)
    said = ended(leader, 2).stderr
    assert "error: rank 1 on " in said
    assert "failed before it joined: there is no option" in said
    assert other.wait().status == 2


@pytest.mark.parametrize("args", [CODE, ALONE], ids=["follower", "alone"])
def test_a_leader_that_dies_is_told_of_at_once_by_one_of_its_node(
    job: Job, args: tuple[str, ...]
) -> None:
    leader, other = leader_before_it_is_one(job), connected(job, *args)
    leader.signal(signal.SIGKILL)
    said = ended(other, 75).stderr
    assert "error: rank 0 on " in said
    assert " died before the ranks had met" in said
    leader.wait()


@pytest.mark.heavy
def test_a_leader_that_is_stopped_before_it_is_one_is_told_of_and_killed(
    job: Job,
) -> None:
    leader = leader_before_it_is_one(job)
    other = connected(job, *CODE)
    said = ended(other, 75).stderr
    assert "error: rank 0 on " in said
    assert " died before the ranks had met" in said
    assert leader.wait().status == KILLED


@pytest.mark.heavy
def test_a_leader_that_is_stopped_before_it_is_one_does_not_stay_without_others(
    job: Job,
) -> None:
    leader = leader_before_it_is_one(job)
    assert leader.wait().status == KILLED


#: Kills the first process that connects to a port: rank 0, which has published where
#: its hub is, and finds it as the others do.
KILLS = """
import os, signal, sys

def kill(event, args):
    if event == "socket.connect" and isinstance(args[1], tuple):
        print(os.listdir(os.environ["DASKRUNNER_DIRECTORY"]), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill)
"""


def test_a_record_that_has_just_been_published_goes_with_its_rank_0(
    job: Job, tmp_path: Path
) -> None:
    hook, home = tmp_path / "hook", tmp_path / "home"
    for directory in (hook, home):
        directory.mkdir(mode=0o700)
    (hook / "sitecustomize.py").write_text(KILLS)
    job.environ |= {"PYTHONPATH": str(hook), "HOME": str(home)}
    before = {*everything(tmp_path)}
    leader = job.rank(0, *CODE)
    end = leader.wait()
    assert end.status == KILLED
    assert ".json" in end.stdout
    until(lambda: {*everything(tmp_path)} == before)


def everything(directory: Path) -> list[Path]:
    """Return what is in a directory, but for what Python keeps of its modules."""
    found = directory.rglob("*")
    return [one for one in found if "__pycache__" not in str(one)]


@pytest.fixture
def nodes(tmp_path: Path, program: Path) -> Iterator[TwoNodes]:
    if subprocess.run(["unshare", "--uts", "true"], check=False).returncode:
        pytest.skip("needs the right to name a node (unshare --uts)")
    with TwoNodes(tmp_path, program) as nodes:
        yield nodes


@pytest.mark.parametrize("when", ["before it hears them", "later"])
def test_a_leader_of_another_node_that_dies_is_named_by_the_hub(
    nodes: TwoNodes, when: str
) -> None:
    leader = nodes.rank(2, *CODE)
    until(lambda: nodes.sockets("b"))
    if when != "later":
        leader.signal(signal.SIGSTOP)
    before = nodes.sockets("b")
    follower = nodes.rank(3, *CODE)
    until(lambda: nodes.sockets("b") > before)
    if when == "later":
        until(lambda: follower.named("dask-follower"))
    leader.signal(signal.SIGKILL)
    first = nodes.rank(0, *CODE)
    said = ended(first, 75).stderr
    assert re.search(r"error: (rank 2|the rank of local rank 0) on b died before", said)
    assert not ended(follower, 0).stderr


def test_a_signal_on_another_node_ends_those_that_the_hub_does_not_know(
    nodes: TwoNodes,
) -> None:
    leader, follower = nodes.rank(2, *CODE), nodes.rank(3, *CODE)
    until(lambda: follower.named("dask-follower"))
    follower.signal(signal.SIGTERM)
    ended(follower, 143)
    ended(leader, 143)


def test_two_nodes_meet(nodes: TwoNodes) -> None:
    code = BEGIN + "print(len(client.run(os.getpid)))"
    first, *others = [nodes.rank(number, "-c", code) for number in range(4)]
    assert ended(first, 0).stdout == "4\n"
    for other in others:
        ended(other, 0)


def test_a_leader_that_ends_takes_those_along_whom_the_hub_does_not_know(
    job: Job,
) -> None:
    leader, other = job.rank(0, *CODE), alone(job)
    leader.signal(signal.SIGTERM)
    assert "error" not in ended(leader, 143).stderr
    assert not ended(other, 143).stderr


# --- signals ------------------------------------------------------------------


def test_a_signal_to_a_follower_that_looks_for_its_leader_ends_all(job: Job) -> None:
    follower = job.rank(1, *CODE)
    until(lambda: catches(follower.process.pid, signal.SIGTERM))
    follower.signal(signal.SIGTERM)
    leader = job.rank(0, *CODE)
    assert not ended(leader, 143).stdout
    ended(follower, 143)


def test_a_signal_to_a_follower_without_a_leader_ends_it(job: Job) -> None:
    follower = job.rank(1, *CODE)
    until(lambda: catches(follower.process.pid, signal.SIGTERM))
    began = time.monotonic()
    follower.signal(signal.SIGTERM)
    end = ended(follower, 143)
    assert time.monotonic() - began < BOUND, end


def test_a_signal_to_a_follower_of_a_leader_that_stands_still_ends_it(
    job: Job,
) -> None:
    leader, follower = leader_before_it_is_one(job), connected(job, *CODE)
    began = time.monotonic()
    follower.signal(signal.SIGTERM)
    end = ended(follower, 143)
    assert time.monotonic() - began < BOUND, end
    leader.signal(signal.SIGCONT)
    assert "error" not in ended(leader, 143).stderr


def test_a_signal_to_a_rank_that_plays_alone_ends_all(job: Job) -> None:
    leader, other = job.rank(0, *CODE), alone(job)
    other.signal(signal.SIGTERM)
    assert "error" not in ended(leader, 143).stderr
    assert "error" not in ended(other, 143).stderr
