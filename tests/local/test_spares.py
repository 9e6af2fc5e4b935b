"""Spare ranks of ``dask-runner -n``: they wait, and take the place of lost ones."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.local.test_serve import serving, stopped
from tests.programs import BEGIN, UNTIL_TOLD, WAIT, clean, script
from tests.running import DASK_RUNNER, Run
from tests.waiting import until

if TYPE_CHECKING:
    from tests.running import DaskRunner, Ended

#: Prints the names of the workers, goes on when it is told to, and prints those that
#: there are when so many have come as before.
CODE = f"""{BEGIN}
def names():
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return sorted(worker["name"] for worker in workers)
before = names()
print(*before)
{UNTIL_TOLD}
while len(after := names()) < len(before) or after == before:
    assert time.monotonic() < deadline + 60
    time.sleep(0.02)
print(*after)
print(sum(client.gather(client.map(lambda x: 2 * x, range(10)))))
"""

#: A task that waits on worker 2 until there is a file, and what it returns.
TASK = f"""{BEGIN}
def wait():
    open("runs", "w").close()
    while not os.path.exists("go"):
        time.sleep(0.02)
    return os.environ["DASK_TEMPORARY_DIRECTORY"] != ""
future = client.submit(wait, workers=2, allow_other_workers=True, pure=False)
print("begun", flush=True)
print(future.result())
"""


def kill(run: Run, rank: int, number: int = signal.SIGKILL) -> None:
    """Signal the process that the launcher has started for a rank."""
    (pid,) = (pid for pid in run.named("dask-follower") if _rank(pid) == rank)
    os.kill(pid, number)


def _rank(pid: int) -> int:
    environ = Path(f"/proc/{pid}/environ").read_text()
    return int(dict(one.split("=", 1) for one in environ.split("\0") if one)[_RANK])


_RANK = "DASKRUNNER_RANK"


def go(run: Run) -> Ended:
    (run.cwd / "go").touch()
    return run.wait(makes=("go",))


def told(ended: Ended) -> list[str]:
    """Return what it says of losses, without the name of this machine.

    What it says when all is over repeats them, after "lost:".
    """
    lines = [
        re.sub(r" on \S+?(:|(?= take))", r"\1", one)
        for one in ended.stderr.splitlines()
        if not one.startswith("dask-runner: lost: ")
    ]
    return [
        one.removeprefix("dask-runner: ")
        for one in lines
        if "lost" in one or " take" in one
    ]


#: Prints which workers there are.
NAMES = f"""{BEGIN}
workers = client.scheduler_info(n_workers=-1)["workers"].values()
print(*sorted(worker["name"] for worker in workers))
"""

LOST = "the process that the launcher started for it is gone"


def test_a_lost_rank_is_replaced_and_the_script_goes_on(
    dask_runner: DaskRunner,
) -> None:
    run = dask_runner.start("-n", 4, "--spare", 1, "-c", CODE)
    run.wait_for("begun")
    kill(run, 2)
    ended = go(run)
    assert ended.status == 0, ended
    assert ended.stdout == "0 1 2\nbegun\n0 1 3\n90\n"
    assert told(ended) == [
        f"warning: lost rank 2: {LOST}",
        "rank 3 takes the place of rank 2",
    ]


def test_the_task_of_a_lost_rank_goes_on_with_the_spare_one(
    dask_runner: DaskRunner,
) -> None:
    run = dask_runner.start("-n", 4, "--spare", 1, "-c", TASK)
    until((run.cwd / "runs").exists, context=lambda: run.stderr)
    kill(run, 2)
    run.wait_for("takes the place of rank 2")
    (run.cwd / "go").touch()
    ended = run.wait(makes=("go", "runs"))
    assert (ended.status, ended.stdout) == (0, "begun\nTrue\n"), ended


def test_a_clean_run_with_a_spare_rank_says_that_it_waits(
    dask_runner: DaskRunner,
) -> None:
    ended = clean(dask_runner("-n", 3, "--spare", 1, "-c", "print('ran')"))
    assert "3 ranks, layout shared, 1 spare\n" in ended.stderr
    assert re.search(
        r"ready after .* 2 workers with .* on 1 node, 1 spare\n", ended.stderr
    )


def test_the_number_of_spare_ranks_may_be_in_the_environment(
    dask_runner: DaskRunner,
) -> None:
    env = {"DASK_RUNNER__SPARE": "1"}
    assert clean(dask_runner("-n", 3, "-c", NAMES, env=env)).stdout == "0 1\n"


def test_a_join_has_no_spare_ranks_whatever_the_environment_says() -> None:
    with serving("--name", "lab") as serve:
        env = {"HOME": str(serve.home), "DASK_RUNNER__SPARE": "1"}
        with Run((str(DASK_RUNNER), "join", "lab"), env=env) as run:
            run.wait_for("joined the cluster lab")
            stopped(serve)
            ended = run.wait()
    assert ended.status == 0, ended


def test_a_spare_rank_that_is_lost_is_a_warning(dask_runner: DaskRunner) -> None:
    code = f"{BEGIN}{UNTIL_TOLD}print(client.submit(sum, [1, 2]).result())"
    run = dask_runner.start("-n", 3, "--spare", 1, "-c", code)
    run.wait_for("begun")
    kill(run, 2)
    run.wait_for("lost spare")
    ended = go(run)
    assert (ended.status, ended.stdout) == (0, "begun\n3\n"), ended
    assert told(ended) == [f"warning: lost spare rank 2: {LOST}"]


def test_two_losses_with_one_spare_rank_leave_one_worker_less(
    dask_runner: DaskRunner,
) -> None:
    run = dask_runner.start(
        "-n", 5, "--spare", 1, "-c", CODE.replace("< len", "< -1 + len")
    )
    run.wait_for("begun")
    kill(run, 1)
    run.wait_for("takes the place of rank 1")
    kill(run, 2)
    run.wait_for("lost rank 2")
    ended = go(run)
    assert ended.status == 0, ended
    assert ended.stdout == "0 1 2 3\nbegun\n0 3 4\n90\n"


def test_a_rank_that_is_lost_before_the_cluster_is_ready_is_replaced(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    preload = script(
        tmp_path,
        """
        import asyncio, os

        async def dask_setup(worker):
            while worker.name == 1 and not os.path.exists("go"):
                await asyncio.sleep(0.02)
        """,
        "waits.py",
    )
    run = dask_runner.start("-n", 4, "--spare", 1, "--preload", preload, "-c", NAMES)
    # Its workers begin.
    until(lambda: len(run.named("dask-worker")) == 3, context=lambda: run.stderr)
    kill(run, 1)
    ended = run.wait(makes=("go",))
    assert (ended.status, ended.stdout) == (0, "0 2 3\n"), ended
    assert told(ended)[1:] == ["rank 3 takes the place of rank 1"]


def test_a_spare_rank_that_is_lost_while_it_starts_is_replaced_by_the_next(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    preload = script(
        tmp_path,
        """
        import asyncio, os

        async def dask_setup(worker):
            if worker.name == 3:
                open("starts", "w").close()
                while not os.path.exists("go"):
                    await asyncio.sleep(0.02)
        """,
        "waits.py",
    )
    run = dask_runner.start("-n", 5, "--spare", 2, "--preload", preload, "-c", CODE)
    run.wait_for("begun")
    kill(run, 2)
    until((run.cwd / "starts").exists, context=lambda: run.stderr)
    kill(run, 3)
    # Told of together with the first one, or alone.
    until(lambda: re.search(r"ranks? (3, )?4 on \S+ take", run.stderr))
    (run.cwd / "go").touch()
    ended = run.wait(makes=("go", "starts"))
    assert (ended.status, ended.stdout) == (0, "0 1 2\nbegun\n0 1 4\n90\n"), ended


def test_a_rank_that_cannot_start_its_workers_is_replaced(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    preload = script(
        tmp_path,
        """
        import os

        def dask_setup(worker):
            if worker.name == 1:
                os._exit(3)
        """,
        "exits.py",
    )
    ended = dask_runner("-n", 3, "--spare", 1, "--preload", preload, "-c", NAMES)
    assert (ended.status, ended.stdout) == (0, "0 2\n"), ended
    assert "lost rank 1" in ended.stderr
    assert "ended with status 3 while it started" in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_spare_rank_passes_on_signals(dask_runner: DaskRunner, number: int) -> None:
    run = dask_runner.start("-n", 3, "--spare", 1, "-c", BEGIN + WAIT)
    run.wait_for("begun")
    kill(run, 2, number)
    assert run.wait(stray=".*").status == 128 + number


def test_the_loss_of_rank_0_ends_spare_ranks_as_well(dask_runner: DaskRunner) -> None:
    run = dask_runner.start("-n", 3, "--spare", 1, "-c", BEGIN + WAIT)
    run.wait_for("begun")
    (agent,) = run.named("dask-agent")
    stat = Path(f"/proc/{agent}/stat").read_text()
    os.kill(int(stat.rpartition(")")[2].split()[1]), signal.SIGKILL)
    ended = run.wait()
    assert ended.status == 137, ended
    assert ended.seconds < 60


def test_a_dedicated_cluster_replaces_its_only_worker(dask_runner: DaskRunner) -> None:
    run = dask_runner.start("-n", 4, "--layout", "dedicated", "--spare", 1, "-c", CODE)
    run.wait_for("begun")
    kill(run, 2)
    ended = go(run)
    assert (ended.status, ended.stdout) == (0, "2\nbegun\n3\n90\n"), ended


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        (("-n", 3, "--spare", 3), 78, "3 ranks, of which 2 can wait"),
        (("--spare", 1), 78, "1 rank, of which 0 can wait"),
        (("-n", 3, "--layout", "dedicated", "--spare", 1), 78, "of which 0 can wait"),
        (("-n", 3, "--spare", 1, "--mpi-tasks"), 78, "--mpi-tasks with --spare 1"),
        (("-n", 3, "--spare", "some"), 2, "a whole number from 0"),
    ],
)
def test_wrong_numbers_are_told_before_anything_starts(
    dask_runner: DaskRunner, args: tuple[str | int, ...], status: int, words: str
) -> None:
    ended = dask_runner(*map(str, args), "-c", "print('ran')")
    assert (ended.status, ended.stdout) == (status, ""), ended
    assert words in ended.stderr
    assert ended.stderr.count("error: ") == 1, ended
    assert "you can: " in ended.stderr
