"""Somebody without the keys goes to all that a cluster listens at."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.attacks.stranger import STRANGER, attack, attacking
from tests.listening import (
    KNOCK,
    SURVEY,
    arguments,
    documented,
    here,
    places,
    told,
)
from tests.pages import path_in, until_served, websocket
from tests.programs import BEGIN, UNTIL_TOLD, script
from tests.running import DASK_RUNNER, DaskRunner, Run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.jobs import Jobs
    from tests.listening import Place, Told

HOLD = BEGIN + UNTIL_TOLD

#: The user's and the other account's numbers on the Slurm cluster.
USER, OTHER = 1000, 1001

#: Two for each worker of a node, and two for hub and scheduler.
PORTS = range(20000, 20006)

ANYWHERE = "0.0.0.0"  # noqa: S104  nobody does, as the test finds

#: A process listens at one of these at least: without it nothing was looked at.
KINDS = {"tcp", "unix"}


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Run]:
    """A cluster of two ranks that goes on until there is a file."""
    code = script(tmp_path, HOLD)
    with Run((str(DASK_RUNNER), "-n", "2", str(code))) as run:
        run.wait_for("begun")
        yield run
        Path(run.cwd, "go").touch()
        assert run.wait(makes=("go",)).status == 0


def owner(goals: list[Place]) -> Told:
    """Return what the user is told there without keys."""
    line = [sys.executable, "-c", KNOCK, *arguments(goals)]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    return told(done.stdout)


@pytest.mark.attack(
    "connects to every port and socket of a cluster on the same machine",
    "no answer without the keys, and no page of the dashboard or of a worker",
)
def test_nothing_answers_somebody_on_the_same_machine(held: Run) -> None:
    goals = here(held.pids)
    assert {kind for _, kind, *_ in goals} >= KINDS

    done = attack(KNOCK, *arguments(goals), timeout=300)

    assert done.returncode == 0, done.stderr
    result = told(done.stdout)
    assert result.uid == STRANGER
    assert result.answers == []
    dashboard = [one for one in goals if one[2].endswith("/dashboard")]
    assert {tuple(one[:4]) for one in result.refused} >= set(dashboard)
    # The same words have answers where they are let in.
    assert owner(dashboard).answers


#: Takes the ports of a range, says so, and prints when somebody comes to one.
SQUAT = """
first, last = int(sys.argv[1]), int(sys.argv[2])
held = [socket.create_server(("127.0.0.1", port)) for port in range(first, last + 1)]
print("held", flush=True)
select.select(held, [], [])
print("somebody came", flush=True)
"""


def free_range(length: int) -> int:
    """Return the first of so many ports of which none was taken a moment ago."""
    for first in range(20000, 30000, length):
        with contextlib.ExitStack() as held:
            try:
                for port in range(first, first + length):
                    held.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue
            return first
    raise AssertionError("no ports are free")


@pytest.mark.attack(
    "listens at ports of the range that you give with `--ports`, before you do",
    "nothing: your cluster takes the others, and nobody of it comes to theirs; only "
    "with all of them taken it ends at its start (75), and says so",
)
def test_ports_of_a_range_that_others_hold_are_left_to_them(
    dask_runner: DaskRunner,
) -> None:
    first = free_range(8)
    code = (
        "from distributed import Client; print(Client().submit(sum, [1, 2]).result())"
    )

    with attacking(SQUAT, first, first + 3) as stranger:
        args = ["-n", 1, "--quiet", "--ports", f"{first}-{first + 7}", "-c", code]
        ended = dask_runner(*map(str, args))
        stranger.kill()
        assert stranger.stdout is not None
        assert stranger.stdout.read() == ""

    assert (ended.status, ended.stdout) == (0, "3\n"), ended


@pytest.mark.attack(
    "waits for a cluster with an unencrypted protocol (`--protocol ws`)",
    "nothing: such a protocol is refused at once, unless the user says "
    "`--security none`",
)
@pytest.mark.parametrize("name", ["ws", "ucx"])
def test_no_cluster_speaks_without_keys(tmp_path: Path, name: str) -> None:
    code = script(tmp_path, HOLD)
    with Run((str(DASK_RUNNER), "-n", "2", "--protocol", name, str(code))) as run:
        while run.process.poll() is None and "begun" not in run.stdout:
            try:
                run.process.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
        if run.process.poll() is None:
            done = attack(KNOCK, *arguments(here(run.pids)), timeout=300)
            assert told(done.stdout).answers == []
        ended = run.wait()

    assert ended.status == 78, ended
    assert "--security none" in ended.stderr


@pytest.mark.attack(
    "lures you to their web page while your tunnel to the dashboard is open",
    "nothing: the page cannot open the dashboard's websocket",
)
def test_a_page_of_somebody_else_may_not_read_through_the_tunnel(held: Run) -> None:
    path = path_in(held.stderr)
    page = until_served(path)

    assert websocket(path, page, "http://127.0.0.1:8787") == 101
    assert websocket(path, page, "https://somebody.example") == 403
    assert websocket(path, page, "http://127.0.0.1.somebody.example:8787") == 403


@pytest.mark.attack(
    "connects to every port and socket of a cluster of two nodes, from the "
    "nodes and from the network",
    "no answer without the keys",
)
def test_nothing_answers_somebody_on_the_nodes_or_in_the_network(jobs: Jobs) -> None:
    args = ["--ports", f"{PORTS[0]}-{PORTS[-1]}", jobs.write("hold.py", HOLD)]
    job = jobs.srun("-N2 --ntasks-per-node=2", *args)
    job.wait_for("begun")
    cluster = jobs.cluster
    nodes = ("c1", "c2")
    goals: dict[str, list[Place]] = {}
    for node in nodes:
        done = cluster.run(
            ["python3", "-c", SURVEY, f"uid:{USER}"], node=node, user="root", timeout=60
        )
        goals[node] = places(done.stdout)
        assert {kind for _, kind, *_ in goals[node]} >= KINDS, done
        assert any(name == "dask-worker" for name, *_ in goals[node]), goals

    def tried(user: str, node: str, at: list[Place]) -> Told:
        line = ["python3", "-c", KNOCK, *arguments(at)]
        done = cluster.run(line, node=node, user=user, timeout=600)
        assert done.returncode == 0, done
        return told(done.stdout)

    for node in nodes:
        result = tried("other", node, goals[node])
        assert result.uid == OTHER
        assert result.answers == []
    elsewhere = [
        one
        for node in nodes
        for one in goals[node]
        if one[1] != "unix" and not one[2].startswith("127.")
    ]
    # It is what the page for admins says, at the ports that were given.
    seen = {(name, kind) for at in goals.values() for name, kind, *_ in at}
    assert seen == documented()
    assert {port for _, _, _, port in elsewhere} <= set(PORTS)
    # Each is at the address of its node: nothing listens on all addresses.
    assert {at for _, _, at, _ in elsewhere}.isdisjoint({ANYWHERE, "::"})
    assert any(name == "dask-scheduler" for name, *_ in elsewhere)
    result = tried("other", "login", elsewhere)
    assert result.answers == []
    assert result.refused == []
    dashboard = [one for one in goals["c1"] if one[2].endswith("/dashboard")]
    assert tried("user", "c1", dashboard).answers
    jobs.write("go", "")
    assert job.wait(makes=("go",)).returncode == 0
