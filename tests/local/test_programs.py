"""The user's program, on local ranks: what it sees, and how it ends."""

from __future__ import annotations

import re
import signal
import textwrap
import time
from typing import TYPE_CHECKING

import pytest

from tests.conftest import HOSTILE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import DaskRunner
    from tests.running import Ended

#: A clean run's lines on stderr (DESIGN 4.11).
LINES = 6


def script(directory: Path, text: str, name: str = "script.py") -> Path:
    path = directory / name
    path.write_text(textwrap.dedent(text))
    return path


def clean(ended: Ended) -> Ended:
    assert ended.status == 0, ended
    assert len(ended.stderr.splitlines()) <= LINES, ended
    assert "warning" not in ended.stderr.lower(), ended
    return ended


def test_a_script_is_run_once_as_python_would_on_workers_of_all_ranks(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    script(tmp_path, "def twice(x):\n    return 2 * x\n", "helper.py")
    path = script(
        tmp_path,
        """
        import sys
        from dataclasses import dataclass, fields

        from dask.distributed import Client, get_worker

        import helper


        @dataclass
        class Point:
            x: int


        def nested(number):
            def inner():
                return Point(number)

            return inner


        def where(x):
            print(f"task {x}")
            return get_worker().name


        if __name__ == "__main__":
            first, second = Client(), Client()
            print(sys.argv, __name__, __file__)
            used = first.gather(first.map(where, range(8)))
            workers = first.scheduler_info(n_workers=-1)["workers"].values()
            print("names", sorted(worker["name"] for worker in workers))
            assert set(used) <= {0, 1, 2}
            print("twice", second.submit(helper.twice, 21).result())
            print("point", first.submit(nested(5)).result().x)
            print("annotation", fields(Point)[0].type)
            assert Client().submit(lambda: 1, workers=2).result() == 1
            print("scheme", first.scheduler.address.split(":")[0])
        """,
    )
    ended = clean(dask_runner("-n", 3, path, "a", "b c", "-n", "--help"))
    out = ended.stdout
    assert f"['{path}', 'a', 'b c', '-n', '--help'] __main__ {path}" in out
    assert "names [0, 1, 2]" in out
    assert "twice 42" in out
    assert "point 5" in out
    assert "annotation <class 'int'>" in out
    assert "scheme tls" in out
    # What tasks print is seen as well.
    assert all(f"task {number}\n" in out for number in range(8))


def test_a_module_is_run_as_main(dask_runner: DaskRunner, tmp_path: Path) -> None:
    script(tmp_path, "def f(x):\n    return x + 1\n", "beside.py")
    text = """
        import sys
        from dask.distributed import Client
        import beside

        def own(x):
            return x * 10

        print(__name__, __spec__.name, sys.argv[1:])
        client = Client()
        print(client.submit(beside.f, client.submit(own, 4)).result())
    """
    script(tmp_path, text, "program.py")
    ended = clean(dask_runner("-m", "program", "x", "-c", cwd=tmp_path))
    assert ended.stdout == "__main__ program ['x', '-c']\n41\n"


def test_code_sees_its_arguments_and_computes_without_a_client_on_the_cluster(
    dask_runner: DaskRunner,
) -> None:
    code = (
        "import dask, distributed, sys; print(sys.argv); "
        "print(dask.delayed(lambda: distributed.get_worker().name)().compute())"
    )
    ended = clean(dask_runner("-c", code, "-m", "x"))
    assert ended.stdout == "['-c', '-m', 'x']\n0\n"


def test_a_command_finds_the_cluster(dask_runner: DaskRunner) -> None:
    code = (
        "from distributed import Client; print(Client().submit(sum, [1, 2]).result())"
    )
    import sys  # noqa: PLC0415

    ended = clean(dask_runner("--", sys.executable, "-c", code))
    assert ended.stdout == "3\n"


def test_a_shell_sees_its_arguments_and_the_address(dask_runner: DaskRunner) -> None:
    line = 'echo "$DASK_SCHEDULER_ADDRESS $1"; exit 9'
    ended = dask_runner("--security", "none", "--", "sh", "-c", line, "-", "x  y")
    assert ended.status == 9
    assert ended.stdout.startswith("tcp://127.0.0.1:")
    assert ended.stdout.endswith(" x  y\n")


def test_the_script_reads_what_is_piped_in(dask_runner: DaskRunner) -> None:
    code = "import sys; print(sys.stdin.read().upper())"
    assert dask_runner("-n", 2, "-c", code, stdin="abc").stdout == "ABC\n"


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
        if not line.startswith("dask-runner: ")
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


def test_the_script_may_use_multiprocessing(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    path = script(
        tmp_path,
        """
        import multiprocessing

        def square(x):
            return x * x

        if __name__ == "__main__":
            for method in "spawn", "fork":
                with multiprocessing.get_context(method).Pool(2) as pool:
                    print(method, pool.map(square, range(4)))
        """,
    )
    ended = clean(dask_runner(path))
    assert ended.stdout == "spawn [0, 1, 4, 9]\nfork [0, 1, 4, 9]\n"


def test_what_the_script_leaves_running_is_ended(dask_runner: DaskRunner) -> None:
    code = (
        "import subprocess, sys; "
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])"
    )
    clean(dask_runner("-c", code))


def test_a_worker_that_dies_is_started_again_and_the_script_goes_on(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    path = script(
        tmp_path,
        """
        import os, sys
        from dask.distributed import Client

        def die_once(path):
            if not os.path.exists(path):
                open(path, "w").close()
                os._exit(1)
            return "again"

        print(Client().submit(die_once, sys.argv[1]).result())
        """,
    )
    ended = dask_runner(path, tmp_path / "died")
    assert ended.status == 0, ended
    assert ended.stdout == "again\n"
    (warning,) = [line for line in ended.stderr.splitlines() if "warning" in line]
    assert re.search(
        r"worker 0 of rank 0 on \S+ ended with status 1; it is started again", warning
    )


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
    deadline = time.monotonic() + 10
    while run.pids and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not run.pids
    assert not list(run.tmp.iterdir())


def test_any_path_and_argument_will_do(dask_runner: DaskRunner, tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*HOSTILE.values())
    folder.mkdir(parents=True)
    path = script(folder, "import sys; print(sys.argv[1:])", "my 'script'.py")
    odd = ["", " ", "'", '"', "$HOME", "\\", "*", "naïve", *HOSTILE.values()]
    ended = clean(dask_runner(path, *odd, cwd=folder))
    assert ended.stdout == f"{odd}\n"
