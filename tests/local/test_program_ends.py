"""How the user's program ends, and what signals do to it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.programs import clean, script
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import DaskRunner

ENDS = {
    "sys.exit": ("import sys; sys.exit(3)", 3, ""),
    "a text": ("import sys; sys.exit('good bye')", 1, "good bye"),
    "os._exit": ("import os; os._exit(4)", 4, ""),
    "a signal": ("import os; os.kill(os.getpid(), 11)", 128 + 11, ""),
    "out of memory": ("import os; os.kill(os.getpid(), 9)", 128 + 9, ""),
    "exit 0 in a thread's shadow": (
        "import threading; threading.Thread(target=print, args=[1]).start()",
        0,
        "",
    ),
}


@pytest.mark.parametrize(("code", "status", "stray"), ENDS.values(), ids=ENDS.keys())
def test_the_scripts_end_is_the_jobs(
    dask_runner: DaskRunner, code: str, status: int, stray: str
) -> None:
    ended = dask_runner("-c", code, stray=stray)
    assert ended.status == status, ended
    if status > 128:
        name = signal.Signals(status - 128).name
        assert ended.stderr.count(f"was killed by {name}") == 1


def test_an_exception_is_shown_once_and_with_the_users_frames_alone(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    path = script(
        tmp_path,
        """
        def inner():
            raise ValueError("boo")

        inner()
        """,
    )
    ended = dask_runner("-n", 2, path, stray=".*")
    assert ended.status == 1
    theirs = [
        line
        for line in ended.stderr.splitlines()
        # Python 3.13 marks the place below the line.
        if not line.startswith("dask-runner: ") and line.strip(" ~^")
    ]
    assert theirs == [
        "Traceback (most recent call last):",
        f'  File "{path}", line 5, in <module>',
        "    inner()",
        f'  File "{path}", line 3, in inner',
        '    raise ValueError("boo")',
        "ValueError: boo",
    ]


def test_a_tasks_exception_reaches_the_script_with_its_own_traceback(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    path = script(
        tmp_path,
        """
        from dask.distributed import Client

        def divide(x):
            return 1 / x

        Client().submit(divide, 0).result()
        """,
    )
    ended = dask_runner(path, stray=".*")
    assert ended.status == 1
    assert ended.stderr.count("Traceback") == 1, ended
    assert "in divide" in ended.stderr
    assert "dask_runner" not in ended.stderr


def test_a_syntax_error_is_shown_as_python_shows_it(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    path = script(tmp_path, "x = (\n")
    ended = dask_runner(path, stray=".*")
    assert ended.status == 1
    assert f'File "{path}", line 1' in ended.stderr
    assert "dask_runner" not in ended.stderr


def test_a_module_that_is_not_there_is_said_so(dask_runner: DaskRunner) -> None:
    ended = dask_runner("-m", "no.such", stray="ModuleNotFoundError: .*")
    assert ended.status == 1
    assert "No module named" in ended.stderr


def test_the_script_may_shut_the_cluster_down(dask_runner: DaskRunner) -> None:
    code = (
        "from distributed import Client; c = Client(); "
        "print(c.submit(sum, [1]).result()); c.shutdown(); print('after')"
    )
    ended = clean(dask_runner("-n", 2, "-c", code))
    assert ended.stdout == "1\nafter\n"


def test_what_the_script_leaves_running_is_ended(dask_runner: DaskRunner) -> None:
    code = (
        "import subprocess, sys; "
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])"
    )
    clean(dask_runner("-c", code))


@pytest.mark.parametrize("end", ["sys.exit(3)", "os._exit(3)"])
def test_a_fork_of_the_script_that_goes_on_does_not_keep_the_job(
    dask_runner: DaskRunner, end: str
) -> None:
    code = (
        "import os, sys, time, warnings\n"
        "warnings.simplefilter('ignore', DeprecationWarning)\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    time.sleep(600)\n"
        f"{end}\n"
    )
    ended = dask_runner("-c", code)
    assert ended.status == 3, ended


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_job_and_says_so_in_the_status(
    dask_runner: DaskRunner, number: signal.Signals
) -> None:
    code = "import time; print('begun', flush=True); time.sleep(600)"
    run = dask_runner.start("-n", 2, "-c", code)
    run.wait_for("begun")
    run.signal(number)
    ended = run.wait(stray=".*")
    assert ended.status == 128 + number, ended
    assert ended.stderr.count("Traceback") == (number == signal.SIGINT), ended
    assert "dask_runner" not in ended.stderr, ended


def test_a_signal_before_the_script_begins_ends_the_job(
    dask_runner: DaskRunner,
) -> None:
    run = dask_runner.start("-n", 2, "-c", "print('never')")
    run.wait_for("2 ranks")
    run.signal(signal.SIGTERM)
    ended = run.wait()
    assert ended.status == 143, ended
    assert "never" not in ended.stdout


def test_a_script_that_handles_sigterm_ends_as_it_likes(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    path = script(
        tmp_path,
        """
        import signal, sys, time
        from dask.distributed import Client

        client = Client()

        def save(*_):
            print("saved", client.submit(sum, [1, 2]).result())
            sys.exit(7)

        signal.signal(signal.SIGTERM, save)
        print("begun", flush=True)
        time.sleep(600)
        """,
    )
    run = dask_runner.start(path)
    run.wait_for("begun")
    run.signal(signal.SIGTERM)
    ended = run.wait()
    assert ended.status == 7, ended
    assert "saved 3" in ended.stdout


def test_a_script_that_ignores_sigterm_is_ended_after_its_grace(
    dask_runner: DaskRunner,
) -> None:
    code = (
        "import signal, time; signal.signal(15, signal.SIG_IGN); "
        "print('begun', flush=True); time.sleep(600)"
    )
    run = dask_runner.start("--grace", 1, "-c", code)
    run.wait_for("begun")
    run.signal(signal.SIGTERM)
    ended = run.wait()
    assert ended.status == 143, ended


def test_sigusr1_is_the_scripts_affair(dask_runner: DaskRunner) -> None:
    code = (
        "import signal, time; signal.signal(10, lambda *_: print('usr1')); "
        "print('begun', flush=True); signal.pause(); print('goes on')"
    )
    run = dask_runner.start("-n", 2, "-c", code)
    run.wait_for("begun")
    run.signal(signal.SIGUSR1)
    ended = run.wait()
    assert ended.status == 0, ended
    assert ended.stdout.endswith("goes on\n")


def test_no_rank_outlives_the_launcher(dask_runner: DaskRunner) -> None:
    code = "import time; print('begun', flush=True); time.sleep(600)"
    run = dask_runner.start("-n", 2, "-c", code)
    run.wait_for("begun")
    run.signal(signal.SIGKILL)
    run.process.wait(10)
    until(lambda: not run.pids, 10)
    assert not list(run.tmp.iterdir())
