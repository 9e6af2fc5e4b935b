"""``dask-runner --hosts`` on this machine, for which it needs no ssh."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.waiting import until

if TYPE_CHECKING:
    from tests.conftest import DaskRunner
    from tests.running import Run

CONFIG, USAGE = 78, 2
STAY = "import time; print('begun', flush=True); time.sleep(600)"
WORKERS = """
from distributed import Client
client = Client()
client.wait_for_workers(3)
workers = client.scheduler_info(n_workers=-1)["workers"].values()
print(sorted(worker["name"] for worker in workers))
"""


def test_ranks_of_this_machine_need_no_ssh(dask_runner: DaskRunner) -> None:
    ended = dask_runner("--hosts", "localhost:3", "-c", WORKERS)
    assert (ended.status, ended.stdout) == (0, "[0, 1, 2]\n"), ended


def test_input_arguments_and_the_status_are_the_scripts(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    script = tmp_path / "s.py"
    # 255 is also ssh's own, and a message follows a line that has no end.
    script.write_text("import sys; print(sys.argv[1:], input(), end=''); sys.exit(255)")
    ended = dask_runner("--hosts", "localhost", script, "a", stdin="words\n")
    assert (ended.status, ended.stdout) == (255, "['a'] words"), ended


def test_the_client_may_be_another_rank(dask_runner: DaskRunner) -> None:
    code = "import sys; print(sys.stdin.read())"
    args = ("--hosts", "localhost:3", "--layout", "dedicated", "-c", code)
    ended = dask_runner(*args, stdin="words")
    assert (ended.status, ended.stdout) == (0, "words\n"), ended


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all(dask_runner: DaskRunner, number: int) -> None:
    run = dask_runner.start("--hosts", "localhost:2", "-c", STAY)
    run.wait_for("begun")
    run.signal(number)
    # A script that is interrupted has a traceback of its own.
    assert run.wait(stray=".*").status == 128 + number


def test_nothing_outlives_the_launcher(dask_runner: DaskRunner) -> None:
    run = dask_runner.start("--hosts", "localhost:2", "-c", STAY)
    run.wait_for("begun")
    run.process.kill()
    run.process.wait()
    until(lambda: not run.pids, 30, lambda: run.pids)


def test_nothing_outlives_the_part_on_a_host(dask_runner: DaskRunner) -> None:
    run = dask_runner.start("--hosts", "localhost:2", "-c", STAY)
    run.wait_for("begun")
    (hosted,) = (pid for pid, words in run.pids.items() if words.endswith(" hosted "))
    os.kill(hosted, signal.SIGKILL)
    ended = run.wait()
    assert ended.status == 69, ended
    assert "the connection to localhost ended" in ended.stderr


def rank(run: Run, number: int) -> int:
    """Return the top process of a rank."""
    found = []
    for pid, words in run.pids.items():
        environ = Path(f"/proc/{pid}/environ").read_text().split("\0")
        ours = f"DASKRUNNER_HOST_RANK={number}" in environ
        if ours and "-m dask_runner --hosts" in words:
            found.append(pid)
    return min(found)


#: Two names of this machine, which is two hosts then.
TWO = "localhost,127.0.0.1:2"


def test_a_rank_killed_in_the_middle_costs_its_worker(dask_runner: DaskRunner) -> None:
    code = (
        "from distributed import Client; import time\n"
        "client = Client(); client.wait_for_workers(3); print('begun', flush=True)\n"
        "while len(client.scheduler_info(n_workers=-1)['workers']) > 2:\n"
        "    time.sleep(.1)\n"
        "time.sleep(12)\n"  # longer than its host would wait for the others
        "print(len(client.scheduler_info(n_workers=-1)['workers']))"
    )
    run = dask_runner.start("--hosts", TWO, "-c", code)
    run.wait_for("begun")
    os.kill(rank(run, 2), signal.SIGKILL)
    ended = run.wait()
    assert (ended.status, ended.stdout) == (0, "begun\n2\n"), ended


def test_a_rank_that_dies_early_ends_all_at_once(dask_runner: DaskRunner) -> None:
    run = dask_runner.start("--hosts", TWO, "--timeout", 60, "-c", STAY)
    until(lambda: any("-m dask_runner --hosts" in words for words in run.pids.values()))
    victims: list[int] = []

    def found() -> bool:
        with contextlib.suppress(ValueError, OSError):
            victims.append(rank(run, 1))
        return bool(victims)

    until(found, every=0.001)
    os.kill(victims[0], signal.SIGKILL)
    ended = run.wait()
    assert ended.status == 75, ended
    assert ended.seconds < 30
    assert "rank 1 on" in ended.stderr


@pytest.mark.parametrize(
    ("args", "status", "saw"),
    [
        (("--hosts", "-oProxyCommand=x"), USAGE, "--hosts = '-oProxyCommand=x'"),
        (("--hostfile", "/none"), CONFIG, "--hostfile /none: No such file"),
        (("--image", "x.sif"), CONFIG, "--image x.sif without --hosts"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(
    dask_runner: DaskRunner, args: tuple[str, ...], status: int, saw: str
) -> None:
    ended = dask_runner(*args, "-c", "print('ran')")
    assert ended.status == status
    assert saw in ended.stderr
    assert "you can:" in ended.stderr


def test_a_machine_without_ssh_says_so(dask_runner: DaskRunner, tmp_path: Path) -> None:
    ended = dask_runner("--hosts", "other", "-c", "1", env={"PATH": str(tmp_path)})
    assert ended.status == CONFIG
    assert "there is no ssh here" in ended.stderr
