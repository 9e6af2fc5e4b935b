"""The leader of a node plays the parts of the ranks beside it."""

import os
import re
import signal
import uuid
from pathlib import Path

import pytest

from tests.programs import BEGIN, WAIT
from tests.running import DASK_RUNNER, DaskRunner, Run

# MiB: an interpreter, and nothing of ours worth mentioning.
SMALL = 15

# Goes on until the cluster has noticed that a worker is gone.
UNTIL_ONE_IS_LOST = """
print("begun", flush=True)
while len(client.scheduler_info(n_workers=-1)["workers"]) > 2:
    time.sleep(0.02)
print(sum(client.gather(client.map(lambda x: x * x, range(10)))))
"""


def _begun(dask_runner: DaskRunner, *args: str | int) -> tuple[Run, list[int]]:
    run = dask_runner.start(*map(str, args))
    run.wait_for("begun")
    return run, run.named("dask-follower")


def _parent(pid: int) -> str:
    stat = Path(f"/proc/{pid}/stat").read_text()
    return stat.rpartition(")")[2].split()[1]


def test_all_ranks_but_the_leader_stay_small(dask_runner: DaskRunner) -> None:
    run, followers = _begun(dask_runner, "-n", 4, "-c", BEGIN + WAIT)
    assert len(followers) == 3
    for pid in followers:
        status = Path(f"/proc/{pid}/status").read_text()
        (kib,) = re.findall(r"VmRSS:\s+(\d+) kB", status)
        assert int(kib) < SMALL * 1024
    run.signal(signal.SIGTERM)
    assert run.wait().status == 143


def test_workers_are_in_the_place_of_the_rank_that_they_belong_to(
    dask_runner: DaskRunner,
) -> None:
    code = """
def look():
    return os.environ["DASK_TEMPORARY_DIRECTORY"], os.getcwd()
seen = client.run(look)
names = {w["name"] for w in client.scheduler_info(n_workers=-1)["workers"].values()}
assert names == {0, 1, 2}, names
assert len({place for place, _ in seen.values()}) == 3, seen
assert {directory for _, directory in seen.values()} == {os.getcwd()}, seen
"""
    ended = dask_runner("-n", 3, "-c", BEGIN + code)
    assert ended.status == 0, ended


def test_a_node_of_many_ranks_may_need_more_files_than_a_user_has() -> None:
    code = """
import resource, subprocess
def limit():
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
def below():
    return int(subprocess.check_output(["sh", "-c", "ulimit -Sn"]))
# The script has the user's, and so has what a task starts; a worker may have more.
assert limit() == 64, limit()
assert set(client.run(below).values()) == {64}, client.run(below)
assert min(client.run(limit).values()) > 64, client.run(limit)
"""
    few = ("/bin/sh", "-c", 'ulimit -Sn 64; exec "$@"', "sh", str(DASK_RUNNER))
    with Run((*few, "-n", "12", "--nthreads", "1", "-c", BEGIN + code)) as run:
        ended = run.wait()
    assert ended.status == 0, ended


def test_a_killed_follower_is_a_lost_rank_and_the_job_goes_on(
    dask_runner: DaskRunner,
) -> None:
    run, (one, _) = _begun(dask_runner, "-n", 3, "-c", BEGIN + UNTIL_ONE_IS_LOST)
    os.kill(one, signal.SIGKILL)
    ended = run.wait()
    assert ended.status == 0, ended
    assert ended.stdout == "begun\n285\n"
    assert re.search(r"warning: lost rank [12] on \S+: ", ended.stderr), ended


def test_a_follower_that_stands_still_is_ended_like_a_killed_one(
    dask_runner: DaskRunner,
) -> None:
    code = BEGIN + UNTIL_ONE_IS_LOST
    run, (one, _) = _begun(dask_runner, "-n", 3, "--silence", 2, "-c", code)
    os.kill(one, signal.SIGSTOP)
    ended = run.wait()
    assert ended.status == 0, ended
    assert re.search(r"warning: lost rank [12] on \S+: ", ended.stderr), ended


def test_followers_of_a_killed_leader_end_and_one_says_so(
    dask_runner: DaskRunner,
) -> None:
    run, (one, _) = _begun(dask_runner, "-n", 3, "-c", BEGIN + WAIT)
    (leader,) = (
        pid
        for pid in run.pids
        if _parent(pid) == _parent(one) and pid not in run.named("dask-follower")
    )
    os.kill(leader, signal.SIGKILL)
    ended = run.wait()
    assert ended.status == 137, ended
    assert ended.stderr.count("lost the hub (rank 0)") == 1, ended


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 3)],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_signal_to_a_follower_reaches_the_script(
    dask_runner: DaskRunner, number: signal.Signals, status: int
) -> None:
    code = "signal.signal(signal.SIGUSR1, lambda *_: sys.exit(3))"
    stray = ".*" if number == signal.SIGINT else ""
    run, (one, _) = _begun(dask_runner, "-n", 3, "-c", BEGIN + code + WAIT)
    os.kill(one, number)
    assert run.wait(stray=stray).status == status


@pytest.mark.parametrize("other", ["directory", "arguments", "option", "early"])
def test_a_rank_that_differs_plays_its_part_itself(
    dask_runner: DaskRunner, tmp_path: Path, other: str
) -> None:
    job = f"test-{uuid.uuid4().hex[:8]}"
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    common = {
        "DASKRUNNER_JOB_ID": job,
        "DASKRUNNER_SIZE": "2",
        "DASKRUNNER_DIRECTORY": str(private),
    }
    code = BEGIN + "assert len(client.run(os.getpid)) == 2" + WAIT
    run = dask_runner.start("-c", code, env={**common, "DASKRUNNER_RANK": "0"})
    args = ("--quiet", "-c", code) if other == "arguments" else ("-c", code)
    more = {"option": {"DASK_RUNNER__QUIET": "1"}, "early": {"DASK_X": "1"}}
    second = dask_runner.start(
        *args,
        cwd=tmp_path if other == "directory" else run.cwd,
        env={**common, "DASKRUNNER_RANK": "1", **more.get(other, {})},
    )
    run.wait_for("begun")
    assert not second.named("dask-follower")
    run.signal(signal.SIGTERM)
    assert (run.wait().status, second.wait().status) == (143, 0)


def _apart(
    dask_runner: DaskRunner,
    directory: Path,
    code: str,
    *args: str,
    own: tuple[dict[str, str], dict[str, str]] = ({}, {}),
    follows: bool = True,
) -> tuple[Run, Run]:
    """Start two ranks that no launcher waits for; return the leader and the other.

    Each has variables of its *own*. The other *follows* if the leader can play for it.
    """
    common = {
        "DASKRUNNER_JOB_ID": f"test-{uuid.uuid4().hex[:8]}",
        "DASKRUNNER_SIZE": "2",
        "DASKRUNNER_DIRECTORY": str(directory),
        "TMPDIR": str(directory),
    }
    second, first = (
        dask_runner.start(
            *args,
            "-c",
            code,
            cwd=directory,
            env={**common, "DASKRUNNER_RANK": str(rank), **own[rank]},
        )
        for rank in (1, 0)
    )
    first.wait_for("begun")
    followers = [second.process.pid] if follows else []
    assert second.named("dask-follower") == followers
    return first, second


def test_ranks_alike_share_a_leader_though_nobody_started_them_together(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    first, second = _apart(dask_runner, tmp_path, BEGIN + WAIT)
    first.signal(signal.SIGTERM)
    assert (first.wait().status, second.wait().status) == (143, 0)


def test_a_follower_that_stands_still_at_the_end_is_not_waited_for(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    first, second = _apart(dask_runner, tmp_path, BEGIN + WAIT)
    second.signal(signal.SIGSTOP)
    first.signal(signal.SIGTERM)
    assert (first.wait().status, second.wait().status) == (143, 137)


# What a worker of each rank has of variables that begin so; then waits.
VARIABLES = """
def look(rank):
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTHONHASHSEED")
    return {k: v for k, v in os.environ.items() if k.startswith("OWN_") or k in names}
seen = {rank: client.submit(look, rank, workers=[rank]).result() for rank in (0, 1)}
for rank in seen:
    print(rank, sorted(seen[rank].items()), flush=True)
"""


def test_a_worker_has_the_variables_of_its_own_rank_and_no_others(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    own = (
        {"OWN_0": "0", "OWN_BOTH": "0", "OMP_NUM_THREADS": "7"},
        {"OWN_1": "1", "OWN_BOTH": "1", "OPENBLAS_NUM_THREADS": "3"},
    )
    first, second = _apart(dask_runner, tmp_path, BEGIN + VARIABLES + WAIT, own=own)
    seed = ("PYTHONHASHSEED", "6640")
    # Where the user does not say the number of threads, Dask does.
    here = [("OMP_NUM_THREADS", "7"), ("OPENBLAS_NUM_THREADS", "1")]
    here += [("OWN_0", "0"), ("OWN_BOTH", "0"), seed]
    there = [("OMP_NUM_THREADS", "1"), ("OPENBLAS_NUM_THREADS", "3")]
    there += [("OWN_1", "1"), ("OWN_BOTH", "1"), seed]
    assert first.stdout == f"0 {here}\n1 {there}\nbegun\n"
    first.signal(signal.SIGTERM)
    assert (first.wait().status, second.wait().status) == (143, 0)


def test_nannies_of_a_class_of_the_users_are_not_lent_to_a_rank_with_other_variables(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    args = "--worker-class", "distributed.Nanny"
    own: tuple[dict[str, str], dict[str, str]] = ({"OWN_0": "0"}, {"OWN_1": "1"})
    code = BEGIN + VARIABLES + WAIT
    first, second = _apart(dask_runner, tmp_path, code, *args, own=own, follows=False)
    assert [len(run.named("dask-agent")) for run in (first, second)] == [1, 1]
    here, there = first.stdout.splitlines()[:2]
    assert "OWN_0" in here
    assert "OWN_1" not in here
    assert "OWN_1" in there
    assert "OWN_0" not in there
    first.signal(signal.SIGTERM)
    assert (first.wait().status, second.wait().status) == (143, 0)
