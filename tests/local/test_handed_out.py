"""Processes that nobody counts get their ranks from the one that comes first."""

from __future__ import annotations

import json
import secrets
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.running import Run
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.conftest import DaskRunner
    from tests.running import Ended

TEMPFAIL, CONFIG, UNAVAILABLE, TERMINATED = 75, 78, 69, 143

#: Prints the ranks that work, and where each has its agent.
WHO = """
from distributed import Client
client = Client()
client.wait_for_workers({size})
workers = client.scheduler_info(n_workers=-1)["workers"].values()
print(sorted(worker["name"] for worker in workers))
"""
#: Stays until it is ended.
STAY = "import time; print('begun', flush=True); time.sleep(600)"
RAN = ("-c", "print('ran')")


class Crowd:
    """Processes of one launch, started one by one, in any order."""

    def __init__(self, dask_runner: DaskRunner, home: Path) -> None:
        self.home = home
        self.directory = home / ".dask-runner"
        self._dask_runner = dask_runner

    def start(
        self,
        size: int,
        *args: Any,
        name: str = "lab",
        env: Mapping[str, str] | None = None,
    ) -> Run:
        words = "--size", size, *(("--name", name) if name else ()), *args
        more = {"HOME": str(self.home), **(env or {})}
        return self._dask_runner.start(*words, env=more)

    def claims(self) -> list[Path]:
        """Return the claims that lie there."""
        return sorted(self.directory.glob("*.first"))

    def first(self, size: int, *args: Any, **how: Any) -> Run:
        """Start a process, and wait until it is the first."""
        before = self.claims()
        run = self.start(size, *args, **how)
        until(lambda: self.claims() not in ([], before), 60)
        return run


@pytest.fixture
def crowd(dask_runner: DaskRunner, tmp_path: Path) -> Iterator[Crowd]:
    home = tmp_path / "home"
    home.mkdir(0o700)
    crowd = Crowd(dask_runner, home)
    yield crowd
    assert not crowd.directory.exists() or not list(crowd.directory.iterdir())


def statuses(*runs: Run) -> list[int]:
    return [run.wait().status for run in runs]


def outputs(*runs: Run) -> tuple[str, str]:
    ended: list[Ended] = [run.wait() for run in runs]
    return (
        "".join(one.stdout for one in ended),
        "".join(one.stderr for one in ended),
    )


def test_three_processes_are_a_cluster_of_three(crowd: Crowd) -> None:
    runs = [crowd.start(3, "-c", WHO.format(size=3)) for _ in range(3)]
    out, err = outputs(*runs)
    assert statuses(*runs) == [0, 0, 0]
    assert out == "[0, 1, 2]\n"
    assert "handed-out: 3 ranks" in err


#: A script with a runner, for a launch that counts no ranks.
RUNNER = """
import sys
from distributed import Client
from dask_runner import Runner
with Runner(size=3, layout="shared", {how}) as runner, Client(runner) as client:
    names = [worker["name"] for worker in client.scheduler_info()["workers"].values()]
    print(runner.rank, runner.role, sorted(names))
"""


@pytest.mark.parametrize("meets", [False, True], ids=["by name", "at an address"])
def test_a_runner_of_the_library_may_be_handed_its_rank(
    crowd: Crowd, tmp_path: Path, *, meets: bool
) -> None:
    env, how = {"HOME": str(crowd.home)}, 'name="lab"'
    if meets:
        env["DASK_RUNNER__SECRET"] = secrets.token_hex(16)
        with socket.create_server(("127.0.0.1", 0)) as free:
            how = f'meet="tcp://127.0.0.1:{free.getsockname()[1]}"'
    script = tmp_path / "script.py"
    script.write_text(RUNNER.format(how=how))
    runs = [Run((sys.executable, str(script)), env=env) for _ in range(3)]
    out, err = outputs(*runs)
    assert statuses(*runs) == [0, 0, 0], err
    assert out == "0 client [0, 1, 2]\n"
    assert "handed-out: 3 ranks" in err


def test_the_ranks_of_a_node_share_its_agent(crowd: Crowd) -> None:
    runs = [crowd.start(3, "-c", STAY) for _ in range(3)]
    until(lambda: any("begun" in run.stdout for run in runs), 90)
    assert sum(len(run.named("dask-agent")) for run in runs) == 1
    for run in runs:
        run.signal(signal.SIGTERM)
    statuses(*runs)


def test_a_cluster_is_served_in_the_same_way(
    crowd: Crowd, dask_runner: DaskRunner
) -> None:
    def serve() -> Run:
        env = {"HOME": str(crowd.home)}
        return dask_runner.start("serve", "--size", 2, "--name", "lab", env=env)

    runs = [serve(), serve()]
    until(lambda: any("ready after" in run.stderr for run in runs), 90)
    stop = dask_runner.start("stop", "lab", env={"HOME": str(crowd.home)})
    assert stop.wait().status == 0
    assert statuses(*runs) == [0, 0]


def test_one_more_is_told_that_all_have_come(crowd: Crowd) -> None:
    runs = [crowd.start(2, "-c", STAY) for _ in range(2)]
    until(lambda: any("begun" in run.stdout for run in runs), 90)
    late = crowd.start(2, "-c", STAY).wait()
    assert late.status == CONFIG
    assert "all 2 ranks of this launch have come already" in late.stderr
    assert "needed: no more than 2 processes" in late.stderr
    for run in runs:
        run.signal(signal.SIGTERM)
    assert max(statuses(*runs)) == TERMINATED


def test_those_that_do_not_come_are_counted_at_the_deadline(crowd: Crowd) -> None:
    runs = [crowd.start(3, "--timeout", 8, "-c", STAY) for _ in range(2)]
    assert statuses(*runs) == [TEMPFAIL, TEMPFAIL]
    _, err = outputs(*runs)
    assert err.count("error:") == 1
    assert "2 of 3 processes came within" in err


def test_another_size_is_refused_with_both(crowd: Crowd) -> None:
    first = crowd.first(2, "-c", "print('ran')")
    other = crowd.start(3, "-c", "print('ran')").wait()
    assert other.status == CONFIG
    assert "--size 3 on" in other.stderr
    assert "has --size 2" in other.stderr
    # Its place is still free.
    second = crowd.start(2, "-c", "print('ran')")
    assert statuses(first, second) == [0, 0]


def test_another_name_is_another_launch(crowd: Crowd) -> None:
    runs = [
        crowd.start(2, "-c", f"print({name!r})", name=name)
        for name in ("one", "two", "one", "two")
    ]
    out, _ = outputs(*runs)
    assert statuses(*runs) == [0, 0, 0, 0]
    assert sorted(out.split()) == ["one", "two"]


def test_a_job_needs_no_name(crowd: Crowd) -> None:
    env = {"OAR_JOB_ID": "7"}
    runs = [crowd.start(2, "-c", "print('ran')", name="", env=env) for _ in range(2)]
    out, err = outputs(*runs)
    assert (statuses(*runs), out) == ([0, 0], "ran\n")
    assert "oar job 7: 2 ranks" in err


def test_the_elements_of_an_array_are_one_launch_by_name(crowd: Crowd) -> None:
    runs = [
        crowd.start(
            2,
            *("-c", "print('ran')"),
            env={"SLURM_JOB_ID": str(40 + element), "SLURM_ARRAY_JOB_ID": "40"},
        )
        for element in range(2)
    ]
    assert statuses(*runs) == [0, 0]


def test_a_dead_launch_is_in_nobodys_way(crowd: Crowd) -> None:
    dead = crowd.first(2, "-c", "print('dead')")
    dead.process.kill()
    dead.wait()
    assert len(crowd.claims()) == 1
    runs = [crowd.start(2, "-c", "print('ran')") for _ in range(2)]
    out, _ = outputs(*runs)
    assert (statuses(*runs), out) == ([0, 0], "ran\n")


def test_a_port_that_another_program_has_taken_is_no_launch(crowd: Crowd) -> None:
    dead = crowd.first(2, "-c", "print('dead')")
    dead.process.kill()
    dead.wait()
    (claim,) = crowd.claims()
    where = json.loads(claim.read_text())["runner"]
    with socket.create_server((where["host"], where["port"])) as taken:
        taken.settimeout(60)
        runs = [crowd.start(2, "-c", "print('ran')") for _ in range(2)]
        visitor, _ = taken.accept()
        visitor.close()
        out, _ = outputs(*runs)
    assert (statuses(*runs), out) == ([0, 0], "ran\n")


def test_the_first_one_killed_early_ends_the_others_with_the_cause(
    crowd: Crowd,
) -> None:
    first = crowd.first(3, "-c", STAY)
    second = crowd.start(3, "-c", STAY)
    until(lambda: connections(first) > 0 and all_sleep(first, second), 60)
    first.process.kill()
    ended = second.wait()
    assert ended.status == TEMPFAIL
    assert "the first process of this launch, on" in ended.stderr
    assert "ended before all had come: 2 of 3" in ended.stderr
    for claim in crowd.claims():
        claim.unlink()  # a killed process cannot


def all_sleep(*runs: Run) -> bool:
    """Whether processes have told each other all: whoever got a word would run."""
    stats = [Path(f"/proc/{run.process.pid}/stat") for run in runs]
    for _ in range(20):
        if any(stat.read_text().rpartition(")")[2].split()[0] != "S" for stat in stats):
            return False
        time.sleep(0.01)
    return True


def connections(run: Run) -> int:
    """Count the connections that a process has accepted."""
    (pid,) = (pid for pid in run.pids if pid == run.process.pid)

    inodes = {
        target.name.partition("[")[2][:-1]
        for fd in Path(f"/proc/{pid}/fd").iterdir()
        if (target := fd.readlink()).name.startswith("socket:")
    }
    lines = [
        line.split()
        for kind in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{kind}").read_text().splitlines()[1:]
    ]
    return sum(line[9] in inodes and line[3] == "01" for line in lines)


def test_another_killed_early_makes_its_place_free(crowd: Crowd) -> None:
    first = crowd.first(3, "-c", "print('ran')")
    killed = crowd.start(3, "-c", "print('ran')")
    until(lambda: connections(first) == 1, 60)
    killed.process.kill()
    killed.wait()
    until(lambda: connections(first) == 0, 60)
    others = [crowd.start(3, "-c", "print('ran')") for _ in range(2)]
    assert statuses(first, *others) == [0, 0, 0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_first_ends_all_that_wait(crowd: Crowd, number: int) -> None:
    first = crowd.first(3, "-c", STAY)
    second = crowd.start(3, "-c", STAY)
    until(lambda: connections(first) > 0, 60)
    first.signal(number)
    assert statuses(first, second) == [128 + number, 128 + number]
    _, err = outputs(first, second)
    assert err.count("before all had come") == 1


def test_a_rank_that_dies_before_it_joins_is_named(crowd: Crowd) -> None:
    first = crowd.first(2, "-c", STAY)
    # Its own scratch cannot be made, which it finds out when it has its number.
    second = crowd.start(2, "--local-directory", "/proc/none", "-c", STAY)
    ended = [first.wait(), second.wait()]
    assert ended[0].status == CONFIG
    assert "".join(one.stderr for one in ended).count("error:") == 1
    assert "rank 1 on" in ended[0].stderr


def test_a_rank_killed_in_the_middle_costs_its_worker(crowd: Crowd) -> None:
    code = (
        "from distributed import Client; import time\n"
        "client = Client(); client.wait_for_workers(2); print('begun', flush=True)\n"
        "while len(client.scheduler_info(n_workers=-1)['workers']) > 1:\n"
        "    time.sleep(.1)\n"
        "print('went on')"
    )
    runs = [crowd.start(2, "-c", code) for _ in range(2)]
    until(lambda: any("begun" in run.stdout for run in runs), 90)
    (other,) = (run for run in runs if "begun" not in run.stdout)
    (first,) = (run for run in runs if run is not other)
    other.process.kill()
    ended = first.wait()
    assert (ended.status, ended.stdout) == (0, "begun\nwent on\n")


def test_the_first_one_killed_in_the_middle_ends_the_others(crowd: Crowd) -> None:
    runs = [crowd.start(3, "-c", STAY) for _ in range(3)]
    until(lambda: any("begun" in run.stdout for run in runs), 90)
    (first,) = (run for run in runs if "begun" in run.stdout)
    others = [run for run in runs if run is not first]
    first.process.kill()
    for other in others:
        ended = other.wait()
        assert ended.status == UNAVAILABLE, ended
    for claim in crowd.claims():
        claim.unlink()  # a killed process cannot


def test_fewer_workers_are_enough_where_the_user_says_so(crowd: Crowd) -> None:
    args = ("--min-workers", 2, "--timeout", 10, "-c", "print('ran')")
    first = crowd.first(3, *args)
    second = crowd.start(3, *args)
    assert statuses(first, second) == [0, 0]


@pytest.mark.parametrize("order", ["first", "last"])
def test_a_process_that_cannot_begin_ends_all_at_once(crowd: Crowd, order: str) -> None:
    wrong = {"DASK_RUNNER__NTHREADS": "many"}
    runs = []
    if order == "first":
        runs = [crowd.start(3, *RAN, env=wrong)]
    runs += [crowd.first(3, *RAN), crowd.start(3, *RAN)]
    if order == "last":
        runs.append(crowd.start(3, *RAN, env=wrong))

    ended = [run.wait() for run in runs]

    assert [one.status for one in ended] == [CONFIG] * 3, ended
    said = "".join(one.stderr for one in ended)
    assert said.count("error:") == 1, said
    assert "DASK_RUNNER__NTHREADS = 'many'" in said
    assert max(one.seconds for one in ended) < 30
    assert not any(one.stdout for one in ended)


def test_others_go_on_without_a_process_that_cannot_begin(crowd: Crowd) -> None:
    less = ("--min-workers", "2", "--timeout", "20")
    runs = [crowd.first(3, *less, *RAN), crowd.start(3, *less, *RAN)]
    wrong = crowd.start(3, *less, *RAN, env={"DASK_RUNNER__NTHREADS": "many"})

    assert wrong.wait().status == CONFIG
    assert statuses(*runs) == [0, 0]
