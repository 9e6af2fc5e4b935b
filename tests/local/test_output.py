"""What is printed is there while a job runs, and after each end of it."""

from __future__ import annotations

import os
import signal
import textwrap
from typing import TYPE_CHECKING

import pytest

from tests.programs import BEGIN, WAIT, clean, script
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import DaskRunner

#: Prints steps, and waits for a word after each.
STEPS = """
import os, time
from dask.distributed import Client

def step(n):
    print("task", n)
    return n

if __name__ == "__main__":
    client = Client()
    for n in range(3):
        print("step", client.submit(step, n).result())
        while not os.path.exists(f"go-{n}"):
            time.sleep(0.02)
"""

#: Has something to clean up, and no handler.
CLEANS = """
try:
    print("begun")
    time.sleep(600)
finally:
    print("cleaned up")
"""


def test_each_step_can_be_read_while_the_job_goes_on(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    run = dask_runner.start("-n", 2, script(tmp_path, STEPS), cwd=tmp_path)
    for n in range(3):
        run.wait_for(f"step {n}\n")
        run.wait_for(f"task {n}\n")
        (tmp_path / f"go-{n}").touch()
    clean(run.wait())


def test_a_python_below_a_command_prints_line_by_line_too(
    dask_runner: DaskRunner,
) -> None:
    code = "import time; print('line'); time.sleep(600)"
    run = dask_runner.start("--", "sh", "-c", f'python3 -c "{code}"; true')
    run.wait_for("line\n")
    run.signal(signal.SIGTERM)
    assert run.wait().status == 143


@pytest.mark.parametrize("ranks", [1, 3])
def test_sigterm_runs_finally_and_keeps_all_lines(
    dask_runner: DaskRunner, tmp_path: Path, ranks: int
) -> None:
    run = dask_runner.start("-n", ranks, script(tmp_path, BEGIN + CLEANS))
    run.wait_for("begun")
    run.signal(signal.SIGTERM)
    ended = run.wait()
    assert ended.status == 143
    assert ended.stdout == "begun\ncleaned up\n"
    assert "Traceback" not in ended.stderr


def test_a_script_that_is_killed_keeps_its_lines(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    text = BEGIN + "for n in range(999): print(n)\n" + WAIT
    run = dask_runner.start("-n", 2, script(tmp_path, text))
    run.wait_for("begun")
    until(lambda: run.named("dask-client"))
    for pid in run.named("dask-client"):
        os.kill(pid, signal.SIGKILL)
    ended = run.wait()
    assert ended.status == 137
    assert ended.stdout.split() == [*map(str, range(999)), "begun"]


def test_a_process_that_the_script_forks_ends_by_sigterm_itself(
    dask_runner: DaskRunner,
) -> None:
    text = """
        import multiprocessing, time

        if __name__ == "__main__":
            child = multiprocessing.get_context("fork").Process(
                target=time.sleep, args=[600]
            )
            child.start()
            child.terminate()
            child.join()
            print(child.exitcode)
        """
    ended = clean(dask_runner("-c", textwrap.dedent(text)))
    assert ended.stdout == "-15\n"


def test_a_script_that_goes_on_after_sigterm_is_ended_after_its_grace(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    text = """
        print("begun")
        while True:
            try:
                time.sleep(600)
            except BaseException:
                print("goes on")
        """
    path = script(tmp_path, BEGIN + textwrap.dedent(text))
    run = dask_runner.start("--grace", 1, path)
    run.wait_for("begun")
    run.signal(signal.SIGTERM)
    ended = run.wait()
    assert (ended.status, ended.stdout) == (143, "begun\ngoes on\n")
