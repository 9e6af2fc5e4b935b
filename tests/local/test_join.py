"""Ranks of another launch join a running cluster, work for it, and leave it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.local.test_serve import SECONDS, ask, call, python, rank_0, serving, stopped
from tests.running import DASK_RUNNER, Run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def joins_of(found: dict[str, Any]) -> list[str]:
    return [join["name"] for join in found["joins"]]


#: Attaches by the cluster's name.
ATTACH = """
import os, sys, time
from dask.distributed import Client, get_worker
from dask_runner import Cluster
client = Client(Cluster.from_name("lab"))
"""
#: Says which workers there are, until it is told no more.
WORKERS = f"""{ATTACH}
for _ in sys.stdin:
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    print(*sorted(str(one["name"]) for one in workers), flush=True)
"""
#: Runs tasks that write down where they ran.
TASKS = f"""{ATTACH}
def task(number, file):
    with open(file, "a") as lines:
        lines.write(f"{{number}} {{get_worker().name}}\\n")
    time.sleep(0.2)
    return number

print("begun", flush=True)
found = client.map(task, range(80), file=sys.argv[1], pure=False)
print(sum(client.gather(found)), flush=True)
"""
#: Makes data on one worker, and uses it when that has left.
DATA = f"""{ATTACH}
def make(file):
    open(file, "a").write("made\\n")
    return bytes(1000)

held = client.submit(make, sys.argv[1], workers=["j1.0"], allow_other_workers=False)
held.result()
print("held", flush=True)
sys.stdin.readline()
print(client.submit(len, held).result(), flush=True)
"""
#: A task on the join that takes longer than it has.
LONG = f"""{ATTACH}
from distributed import fire_and_forget
fire_and_forget(client.submit(time.sleep, 600, workers=["j1.0"]))
time.sleep(1)
print("busy", flush=True)
sys.stdin.read()
"""


@contextmanager
def joining(serve: Run, *args: str, **how: Any) -> Iterator[Run]:
    """Ranks that join the cluster of a home directory."""
    env = {"HOME": str(serve.home)}
    with Run((str(DASK_RUNNER), "join", *args), env=env, **how) as run:
        yield run


def until(serve: Run, workers: int) -> None:
    """Wait until the cluster has so many workers."""
    deadline = time.monotonic() + SECONDS
    while (found := ask(serve.home)[0]["workers"]) != workers:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def leaves(run: Run, why: str, status: int = 0) -> str:
    ended = run.wait()
    assert ended.status == status, ended
    assert ended.stderr.splitlines()[-1] == f"dask-runner: left the cluster: {why}"
    return ended.stderr


def attached(serve: Run, code: str, *args: object) -> Any:
    env = {"PATH": os.environ["PATH"], "HOME": str(serve.home)}
    return python(code, *args, env=env)


def test_ranks_that_join_are_workers_until_the_cluster_ends() -> None:
    with serving("--name", "lab") as serve, joining(serve, "-n", "3", "lab") as first:
        until(serve, 5)
        with joining(serve, "--nworkers", "2", "lab") as second:
            until(serve, 7)
            assert joins_of(ask(serve.home)[0]) == ["j1", "j2"]
            names = attached(serve, WORKERS).communicate("\n", timeout=SECONDS)[0]
            assert names.split() == ["0", "1", "j1.0", "j1.1", "j1.2", "j2.0", "j2.0-1"]
            said = stopped(serve).stderr
            assert "join j1: 3 ranks\n" in said
            assert "join j2: 1 rank\n" in said
            for run in (first, second):
                printed = leaves(run, "the cluster has ended")
                assert printed.startswith("dask-runner: joined the cluster lab on ")


def test_a_join_may_come_before_its_cluster() -> None:
    with serving("--name", "other") as other:
        with joining(other, "lab") as run:
            # It has looked in vain before the cluster begins.
            time.sleep(1)
            env = {"HOME": str(other.home)}
            words = (str(DASK_RUNNER), "serve", "--name", "lab")
            with Run(words, env=env) as serve:
                run.wait_for("joined the cluster lab")
                assert call(other.home, "stop", "lab").returncode == 0
                assert serve.wait().status == 0
            leaves(run, "the cluster has ended")
        stopped(other, "other")


def test_a_join_of_no_cluster_waits_for_its_time_and_says_what_it_saw() -> None:
    with serving("--name", "other") as serve:
        with joining(serve, "-n", "2", "--timeout", "2", "lab") as run:
            ended = run.wait()
        assert ended.status == 75
        (error, needed, do) = ended.stderr.splitlines()
        assert "waited 2 s for the cluster 'lab': it is not in " in error
        assert "a cluster of yours of that name" in needed
        assert "dask-runner serve --name lab" in do
        stopped(serve, "other")


def test_a_cluster_that_stands_still_is_waited_for_and_named() -> None:
    with serving("--name", "lab") as serve:
        os.kill(rank_0(serve), signal.SIGSTOP)
        try:
            with joining(serve, "--timeout", "3", "lab") as run:
                ended = run.wait()
        finally:
            os.kill(rank_0(serve), signal.SIGCONT)
        assert ended.status == 75
        assert "does not answer" in ended.stderr
        stopped(serve)


@pytest.mark.parametrize(
    ("field", "value"), [("distributed", "2020.1.0"), ("python", "3.6.1")]
)
def test_a_cluster_with_other_versions_is_not_joined(field: str, value: str) -> None:
    with serving("--name", "lab") as serve:
        file = serve.home / ".dask-runner" / "cluster-lab.json"
        record = json.loads(file.read_text())
        record["cluster"][field] = value
        file.write_text(json.dumps(record))
        with joining(serve, "-n", "2", "lab") as run:
            ended = run.wait()
        assert ended.status == 78
        assert value in ended.stderr
        assert len(ended.stderr.splitlines()) == 3
        stopped(serve)


def test_a_file_that_others_could_have_written_is_not_believed() -> None:
    with serving("--name", "lab") as serve:
        file = serve.home / ".dask-runner" / "cluster-lab.json"
        file.chmod(0o666)
        with joining(serve, "lab") as run:
            assert run.wait().status == 78
        file.chmod(0o600)
        stopped(serve)


@pytest.mark.parametrize("how", ["stop", "signal"])
def test_a_join_leaves_in_order_and_nothing_is_computed_twice(
    how: str, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    with serving("--name", "lab") as serve, joining(serve, "-n", "2", "lab") as run:
        until(serve, 4)
        tasks = attached(serve, TASKS, ran)
        deadline = time.monotonic() + SECONDS
        while not (ran.exists() and "j1.1" in ran.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        if how == "stop":
            ended = call(serve.home, "stop", "lab", "--join", "j1")
            assert ended.returncode == 0, ended.stderr
            assert "join j1 of the cluster 'lab' has left" in ended.stderr
            assert "left the cluster: stopped by " in run.wait().stderr
        else:
            run.signal(signal.SIGTERM)
            assert "got a signal to end" in run.wait().stderr
        assert run.wait().status == 0
        assert tasks.communicate(timeout=SECONDS)[0] == f"begun\n{sum(range(80))}\n"
        lines = ran.read_text().splitlines()
        assert max(Counter(line.split()[0] for line in lines).values()) == 1
        assert len(lines) == 80
        until(serve, 2)
        assert "warning" not in stopped(serve).stderr


def test_the_data_of_a_join_that_leaves_are_moved(tmp_path: Path) -> None:
    made = tmp_path / "made"
    with serving("--name", "lab") as serve, joining(serve, "lab") as run:
        until(serve, 3)
        client = attached(serve, DATA, made)
        assert client.stdout is not None
        assert client.stdout.readline() == "held\n"
        assert call(serve.home, "stop", "lab", "--join", "j1").returncode == 0
        assert run.wait().status == 0
        assert client.communicate("\n", timeout=SECONDS)[0] == "1000\n"
        assert made.read_text() == "made\n"
        stopped(serve)


def test_a_join_with_the_last_workers_gives_all_to_one_that_starts_again(
    tmp_path: Path,
) -> None:
    made = tmp_path / "made"
    with serving("--name", "lab") as serve, joining(serve, "lab") as run:
        until(serve, 3)
        client = attached(serve, DATA, made)
        assert client.stdout is not None
        assert client.stdout.readline() == "held\n"
        # It is the only one that has data.
        code = "from dask_runner import Cluster; Cluster('lab').scale(1)"
        scaled = attached(serve, code)
        scaled.communicate(timeout=SECONDS)
        assert scaled.returncode == 0
        until(serve, 1)
        assert call(serve.home, "stop", "lab", "--join", "j1").returncode == 0
        assert run.wait().status == 0
        assert client.communicate("\n", timeout=SECONDS)[0] == "1000\n"
        assert made.read_text() == "made\n"
        assert ask(serve.home)[0]["workers"] == 1
        stopped(serve)


def test_what_does_not_finish_within_grace_is_told_and_ended() -> None:
    with (
        serving("--name", "lab") as serve,
        joining(serve, "--grace", "1", "lab") as run,
    ):
        until(serve, 3)
        client = attached(serve, LONG)
        assert client.stdout is not None
        assert client.stdout.readline() == "busy\n"
        run.signal(signal.SIGTERM)
        assert run.wait().status == 0
        client.communicate(timeout=SECONDS)
        said = stopped(serve).stderr
        assert "join j1: 1 worker has not finished within 1 s (--grace)" in said


def test_a_join_that_is_killed_costs_its_workers_alone() -> None:
    with serving("--name", "lab") as serve, joining(serve, "lab") as run:
        until(serve, 3)
        run.signal(signal.SIGKILL)
        until(serve, 2)
        serve.wait_for("lost rank 0 of join j1 on ")
        assert joins_of(ask(serve.home)[0]) == []
        assert stopped(serve).status == 0


def test_a_join_ends_when_the_cluster_is_killed() -> None:
    with serving("--name", "lab") as serve, joining(serve, "-n", "2", "lab") as run:
        until(serve, 4)
        os.kill(rank_0(serve), signal.SIGKILL)
        ended = run.wait()
        assert ended.status == 69
        assert ended.stderr.splitlines()[-1].startswith(
            "dask-runner: error: rank 0 on "
        )
        serve.wait()


def test_a_signal_while_the_join_waits_ends_it_with_the_signals_status() -> None:
    with serving("--name", "other") as serve:
        with joining(serve, "lab") as run:
            time.sleep(1)  # it is looking for the cluster
            run.signal(signal.SIGTERM)
            assert run.wait().status == 143
        stopped(serve, "other")


def test_only_a_join_that_is_there_is_stopped() -> None:
    with serving("--name", "lab") as serve:
        ended = call(serve.home, "stop", "lab", "--join", "j1")
        assert ended.returncode == 78
        assert "no join 'j1' in this cluster" in ended.stderr
        stopped(serve)


def test_an_option_of_the_cluster_is_none_of_a_join() -> None:
    with serving("--name", "lab") as serve:
        with joining(serve, "--min-workers", "2", "lab") as run:
            assert run.wait().status == 2
        # A variable is for all verbs.
        env = {"DASK_RUNNER__MIN_WORKERS": "2", "HOME": str(serve.home)}
        with Run((str(DASK_RUNNER), "join", "lab"), env=env) as run:
            until(serve, 3)
            stopped(serve)
            leaves(run, "the cluster has ended")
