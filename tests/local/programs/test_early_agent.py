"""The agent that its leader forks: as a fresh one, and gone with its leader."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from dask_runner import linux
from dask_runner.node.follower import HASH_SEED, SEED, SEEDED
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import DaskRunner
    from tests.running import Run

LOST, KILLED = 69, 137
AGENT = "dask-agent"
STAY = ("-n", "2", "-c", "import time; print('begun', flush=True); time.sleep(600)")
HASH = f"""
import os
from distributed import Client
with Client() as client:
    told = {{name: os.environ.get(name) for name in ("{HASH_SEED}", "{SEEDED}")}}
    print(client.submit(hash, "x").result(), told)
"""
#: In each Python of a run: says something where Dask is imported, and may die there.
SAYS = """
import os, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "distributed.scheduler":
            os.write(2, b"said too early\\n")
            if "DIES" in os.environ:
                os.kill(os.getpid(), 9)
sys.meta_path.insert(0, Finder())
"""


def agent_of(run: Run) -> int:
    """Wait for the agent of a run; return its process."""
    until(lambda: run.named(AGENT))
    (agent,) = run.named(AGENT)
    return agent


def test_an_agent_is_a_fork_of_its_leader(dask_runner: DaskRunner) -> None:
    run = dask_runner.start(*STAY)
    run.wait_for("begun")
    agent = linux.process(agent_of(run))
    assert agent is not None
    assert linux.command_line(agent_of(run)) == linux.command_line(agent.parent)
    run.signal(signal.SIGTERM)
    run.wait()


@pytest.mark.parametrize("users", ["", "7"], ids=["ours", "the user's"])
def test_workers_hash_alike_and_programs_see_no_seed_but_the_users(
    dask_runner: DaskRunner, users: str
) -> None:
    env = {HASH_SEED: users} if users else {}
    ended = dask_runner("-n", "2", "-c", HASH, env=env)
    told = {HASH_SEED: users or None, SEEDED: None}
    assert ended.stdout == f"{hash_of_x(users or SEED)} {told}\n", ended


def hash_of_x(seed: str) -> str:
    line = [sys.executable, "-c", "print(hash('x'))"]
    env = {**os.environ, HASH_SEED: seed}
    done = subprocess.run(line, env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("milliseconds", [0, 20, 50, 100, 200])
def test_nothing_stays_of_an_agent_whose_leader_is_killed(
    dask_runner: DaskRunner, milliseconds: int
) -> None:
    run = dask_runner.start(*STAY)
    agent = linux.process(agent_of(run))
    assert agent is not None
    time.sleep(milliseconds / 1000)  # the moment is what differs
    os.kill(agent.parent, signal.SIGKILL)
    assert run.wait().status in (LOST, KILLED)


def test_one_that_is_killed_before_it_has_a_part_is_the_cause_that_is_told(
    dask_runner: DaskRunner,
) -> None:
    run = dask_runner.start(*STAY)
    os.kill(agent_of(run), signal.SIGKILL)
    ended = run.wait()
    assert ended.status == LOST, ended
    assert "its node agent was killed by SIGKILL" in ended.stderr, ended


@pytest.mark.parametrize("dies", [False, True], ids=["lives", "dies"])
def test_what_it_says_before_it_has_a_log_comes_to_its_log(
    dask_runner: DaskRunner, tmp_path: Path, *, dies: bool
) -> None:
    (tmp_path / "sitecustomize.py").write_text(SAYS)
    env = {"PYTHONPATH": str(tmp_path), **({"DIES": "1"} if dies else {})}
    logs = ("--log-directory", str(tmp_path / "logs"))
    ended = dask_runner("-n", "2", *logs, "-c", "print('ran')", env=env)
    assert ended.status == (LOST if dies else 0), ended
    assert ended.stdout == ("" if dies else "ran\n")
    (log,) = (tmp_path / "logs").rglob("agent-*")
    assert log.read_text().startswith("said too early\n")


def test_a_rank_that_is_not_fit_to_start_it_ends_it(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    nowhere = str(tmp_path / "none")
    ended = dask_runner("-n", "2", "--local-directory", nowhere, "-c", "print('ran')")
    assert (ended.status, ended.stdout) == (78, ""), ended
    assert nowhere in ended.stderr
