"""The library's way in without a launcher, and what it does to the user's process."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import ranks
from tests.running import Ended, Run

Python = Callable[..., Run]


@pytest.fixture
def python(tmp_path: Path) -> Iterator[Python]:
    """Start a script with the tests' own Python."""
    runs: list[Run] = []

    def start(text: str, **how: object) -> Run:
        script = tmp_path / "script.py"
        script.write_text(text)
        runs.append(Run((sys.executable, str(script)), **how))
        return runs[-1]

    yield start
    for run in runs:
        run.discard()


def message(ended: Ended) -> list[str]:
    return [line.removeprefix("dask-runner: ") for line in ended.stderr.splitlines()]


def test_a_runner_alone_is_a_cluster_of_one_rank_and_may_be_followed_by_another(
    python: Python,
) -> None:
    ended = python(
        "from distributed import Client\n"
        "import shutil\n"
        "from pathlib import Path\n"
        "from dask_runner import Cluster, Runner\n"
        "with Runner(nthreads=1) as runner:\n"
        "    print(runner.rank, runner.role, runner.n_workers, runner.status)\n"
        "    with Client(runner) as client:\n"
        "        print(client.submit(pow, 2, 10, workers=0).result())\n"
        "        print(client.scheduler.address == runner.scheduler_address)\n"
        # Which of several clusters is meant needs no name.
        "    (file,) = Path.home().glob('.dask-runner/cluster-*.json')\n"
        "    other = shutil.copy(file, file.with_name('cluster-other.json'))\n"
        "    with Cluster() as own:\n"
        "        print(own.scheduler_address == runner.scheduler_address)\n"
        "    other.unlink()\n"
        "print(runner.status)\n"
        "with Runner(nthreads=1) as other, Client(other) as client:\n"
        "    print(client.submit(pow, 2, 3).result())\n"
        "print(other.scheduler_address == runner.scheduler_address)\n"
    ).wait()

    assert ended.status == 0, ended
    first = "0 client 1 running\n1024\nTrue\nTrue\nclosed\n"
    assert ended.stdout == f"{first}8\nFalse\n", ended


def test_options_for_dasks_own_classes_count_before_the_runners(
    python: Python,
) -> None:
    ended = python(
        "from distributed import Client\n"
        "from dask_runner import Runner\n"
        "scheduler = {'dashboard': False, 'interface': 'lo'}\n"
        "worker = {'interface': 'lo', 'nthreads': 3, 'memory_limit': '1GiB'}\n"
        "with Runner(scheduler_options=scheduler, worker_options=worker) as runner:\n"
        "    with Client(runner) as client:\n"
        "        print(repr(runner.dashboard_link), *client.nthreads().values())\n"
        "        print(*client.nthreads())\n"
    ).wait()

    assert ended.status == 0, ended
    first, address = ended.stdout.splitlines()
    assert first == "'' 3", ended
    assert address.startswith("tls://127.0.0.1:"), ended
    assert "1 worker with 3 threads and 1.0 GiB" in ended.stderr, ended
    assert "dashboard" not in ended.stderr, ended


def test_an_exception_in_the_body_is_the_users_own(python: Python) -> None:
    ended = python(
        "from dask_runner import Runner\nwith Runner(nthreads=1):\n    1 / 0\n"
    ).wait(stray=".*")

    assert ended.status == 1, ended
    assert ended.stderr.count("Traceback") == 1, ended
    assert ended.stderr.rstrip().endswith("ZeroDivisionError: division by zero"), ended


@pytest.mark.parametrize(
    "before",
    ["", "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"],
    ids=["in the foreground", "in the background of a shell script"],
)
def test_a_cluster_that_is_lost_ends_the_body(python: Python, before: str) -> None:
    run = python(
        f"{before}import time\n"
        "from dask_runner import Runner\n"
        "with Runner(nthreads=1):\n"
        "    print('begun', flush=True)\n"
        "    time.sleep(60)\n"
    )
    run.wait_for("begun")
    (scheduler,) = run.named("dask-scheduler")
    os.kill(scheduler, signal.SIGKILL)
    ended = run.wait()

    assert ended.status == 69, ended
    assert ended.stderr.count("error: ") == 1, ended
    assert "the scheduler on" in ended.stderr, ended


@pytest.mark.parametrize(
    ("runner", "saw", "status"),
    [
        ("SlurmRunner()", "--launcher slurm", 78),
        ("Runner(layout='dedicated')", "1 rank for the layout 'dedicated'", 78),
        ("Runner(nthreads=0)", "--nthreads", 2),
    ],
)
def test_a_runner_that_cannot_start_says_why_and_ends_the_process(
    python: Python, runner: str, saw: str, status: int
) -> None:
    ended = python(
        f"from dask_runner import Runner, SlurmRunner\nwith {runner}:\n    print(1)\n"
    ).wait()

    assert (ended.status, ended.stdout) == (status, ""), ended
    first, *others = message(ended)
    assert first.startswith("error: "), ended
    assert saw in first, ended
    assert [line.split(":")[0].strip() for line in others] == ["needed", "you can"]


SYNC = """
import time
from dask_runner import Runner
try:
    with Runner(nthreads=1):
        print("begun")
        time.sleep(60)
finally:
    print("cleaned up")
"""
ASYNC = """
import asyncio
from dask_runner import Runner
async def main():
    try:
        async with Runner(nthreads=1, asynchronous=True):
            print("begun")
            await asyncio.sleep(60)
    finally:
        print("cleaned up")
asyncio.run(main())
"""


@pytest.mark.parametrize("text", [SYNC, ASYNC], ids=["with", "async with"])
def test_sigterm_is_an_exception_in_the_body(python: Python, text: str) -> None:
    run = python(text)
    run.wait_for("begun")
    run.signal(signal.SIGTERM)
    ended = run.wait()

    assert ended.status == 143, ended
    assert ended.stdout == "begun\ncleaned up\n", ended


INITIALIZE = """
import time
from dask_runner import initialize
initialize()
try:
    print("begun")
    time.sleep(60)
finally:
    print("cleaned up")
"""


def test_sigterm_is_an_exception_in_the_program_after_initialize(
    tmp_path: Path,
) -> None:
    with ranks.RunnerJob(tmp_path, 3, INITIALIZE) as job:
        scheduler, client, worker = (job.rank(number) for number in range(3))
        client.wait_for("begun")
        client.signal(signal.SIGTERM)
        end = ranks.ended(client, 143)
        assert end.stdout == "begun\ncleaned up\n", end
        # A launcher has the highest status, the client's.
        for other in (scheduler, worker):
            assert ranks.ended(other, 0).stdout == ""
