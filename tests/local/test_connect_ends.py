"""A connected program: its terminal and its signals, and what dies with what.

It is one file because all share one cluster, which takes seconds to start.
"""

from __future__ import annotations

import json
import os
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.local.serving import file_of, rank_0, serving, stopped
from tests.programs import BEGIN, UNTIL_TOLD, WAIT, script
from tests.running import DASK_RUNNER, Run
from tests.terminal import CTRL_C, CTRL_D, CTRL_Z, Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

SUM = "from distributed import Client; print(Client().submit(sum, [1, 2]).result())"

#: Has no client of its own.
COMPUTE = """
import dask, os, sys
print(dask.delayed(os.getpid)().compute() != os.getpid(), *sys.argv[1:])
"""

#: Says what it gets, and goes on for as long as there is no file "go".
DEAF = """
def tell(number, frame):
    os.write(1, b"got %d\\n" % number)  # print() is not reentrant
signal.signal(signal.SIGTERM, tell)
signal.signal(signal.SIGINT, tell)
signal.signal(signal.SIGHUP, tell)
"""

pytestmark = pytest.mark.xdist_group("connected")

LOST = "dask-runner: error: the cluster 'lab' "


@pytest.fixture(scope="module")
def lab() -> Iterator[Run]:
    """A served cluster that every program has left as it was."""
    with serving("--name", "lab") as run:
        yield run
        assert stopped(run).status == 0


def connected(run: Run, *args: object, **how: Any) -> Run:
    """Start ``dask-runner connect ARGS`` as the owner of a run."""
    env = {"HOME": str(run.home), **how.pop("env", {})}
    line = (str(DASK_RUNNER), "connect", *map(str, args))
    return Run(line, env=env, **how)


def waiting(run: Run, tmp_path: Path, text: str = BEGIN + WAIT) -> Run:
    """Start a program that has connected and waits; return it when it does."""
    program = connected(run, "lab", script(tmp_path, text), cwd=tmp_path)
    program.wait_for("begun")
    return program


# --- the program ------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["-c", SUM],
        ["lab", "-c", SUM],
        ["lab", "--timeout", "60", "-m", "there"],
        ["--timeout", "60", "lab", "./there.py"],
        ["lab", "-"],
        ["lab", "--", "sh", "-c", f"{DASK_RUNNER.parent}/python there.py"],
        ["--", str(DASK_RUNNER.with_name("python")), "there.py"],
    ],
)
def test_each_kind_of_program_connects(
    lab: Run, tmp_path: Path, words: list[str]
) -> None:
    script(tmp_path, SUM, "there.py")
    stdin = SUM if words[-1] == "-" else None
    with connected(lab, *words, cwd=tmp_path, stdin=stdin) as program:
        ended = program.wait()
    assert (ended.status, ended.stdout, ended.stderr) == (0, "3\n", "")


def test_a_program_needs_no_client_of_its_own(lab: Run) -> None:
    with connected(lab, "lab", "-c", COMPUTE, "a", "-m") as program:
        ended = program.wait()
    assert (ended.status, ended.stdout, ended.stderr) == (0, "True a -m\n", "")


def test_it_reads_and_writes_what_this_command_does(lab: Run) -> None:
    code = "import sys; print(sys.stdin.read()); print('err', file=sys.stderr)"
    with connected(lab, "lab", "-c", code, stdin="given") as program:
        ended = program.wait(stray="err")
    assert (ended.stdout, ended.stderr) == ("given\n", "err\n")


def test_a_program_that_is_killed_is_told_with_its_signal(
    lab: Run, tmp_path: Path
) -> None:
    with waiting(lab, tmp_path) as program:
        (child,) = child_of(program)
        os.kill(child, signal.SIGKILL)
        ended = program.wait()
    assert ended.status == 137
    assert ended.stderr == "dask-runner: error: the program was killed by SIGKILL\n"


def child_of(program: Run) -> list[int]:
    return [
        pid
        for pid, words in program.pids.items()
        if "dask_runner.programs.attached" in words
    ]


def test_what_a_program_leaves_running_ends_with_it(lab: Run) -> None:
    line = ["lab", "--", "sh", "-c", "sleep 600 & setsid sleep 600 & exit 5"]
    with connected(lab, *line) as program:
        assert program.wait().status == 5


def test_other_versions_are_told_before_the_program_begins(
    lab: Run, tmp_path: Path
) -> None:
    file = file_of(lab)
    text = file.read_text()
    record = json.loads(text)
    record["cluster"] |= {"python": "3.9.1", "distributed": "2021.1.0"}
    file.write_text(json.dumps(record))
    script(tmp_path, SUM, "there.py")
    told = "dask-runner: warning: the cluster 'lab' has Python 3.9.1 and distributed "
    python = str(DASK_RUNNER.with_name("python"))
    for words in (["there.py"], ["--", python, "there.py"]):
        with connected(lab, "lab", *words, cwd=tmp_path) as program:
            ended = program.wait()
        assert ended.status == 0, ended
        (line,) = ended.stderr.splitlines()
        assert line.startswith(told + "2021.1.0, this program has Python ")
    file.write_text(text)


# --- what cannot begin ----------------------------------------------------------


# --- signals, and the terminal ----------------------------------------------------


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_a_signal_goes_to_the_program_and_its_status_comes_back(
    lab: Run, tmp_path: Path, number: int, status: int
) -> None:
    with waiting(lab, tmp_path) as program:
        program.signal(number)
        ended = program.wait(stray=".*")
    assert ended.status == status, ended
    assert ended.stderr.count("Traceback") == (number == signal.SIGINT)
    assert "dask-runner" not in ended.stderr


def test_a_program_hears_each_signal_once_and_may_go_on(
    lab: Run, tmp_path: Path
) -> None:
    text = BEGIN + DEAF + UNTIL_TOLD
    with waiting(lab, tmp_path, text) as program:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            # As timeout(1) does, or a shell: to the whole group of the command.
            os.killpg(program.process.pid, number)
            program.wait_for(f"got {number}\n")
        (tmp_path / "go").touch()
        ended = program.wait()
    assert ended.status == 0
    assert [line for line in ended.stdout.split("\n") if "got" in line] == [
        f"got {number:d}" for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_program_begins_ends_it_without_a_word(
    lab: Run, tmp_path: Path, number: int
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    # It waits for its program when it has opened the FIFO.
    with connected(lab, "lab", fifo) as program, fifo.open("wb", buffering=0):
        program.signal(number)
        ended = program.wait()
    assert (ended.status, ended.stderr) == (128 + number, "")


@contextmanager
def on_terminal(run: Run, tmp_path: Path) -> Iterator[Terminal]:
    path = f"{DASK_RUNNER.parent}:{os.environ['PATH']}"
    mark = dict([run.mark.split("=")])
    with Terminal(tmp_path, {"HOME": str(run.home), "PATH": path, **mark}) as terminal:
        yield terminal
    for shell in ("bash", "python"):
        (run.home / f".{shell}_history").unlink(missing_ok=True)


def test_a_terminal_is_the_programs(lab: Run, tmp_path: Path) -> None:
    with on_terminal(lab, tmp_path) as terminal:
        terminal.line("dask-runner connect lab -- python -iq; echo status $?")
        terminal.wait_for(">>> ")
        terminal.line(SUM)
        terminal.wait_for("\n3")
        terminal.line("import time; print('sl' + 'eeps'); time.sleep(600)")
        terminal.wait_for("sleeps")
        terminal.type(CTRL_C)
        terminal.wait_for("KeyboardInterrupt")
        terminal.wait_for(">>> ")
        terminal.line("print(6 * 7)")
        terminal.wait_for("42")
        # Before it reads again, the terminal would keep the end for itself.
        terminal.wait_for(">>> ")
        terminal.type(CTRL_D)
        shown = terminal.wait_for("status 0")
    assert shown.count("Traceback") == 1


def test_it_is_stopped_and_continued_as_one_job(lab: Run, tmp_path: Path) -> None:
    with on_terminal(lab, tmp_path) as terminal:
        terminal.line("dask-runner connect lab -- python -iq")
        terminal.wait_for(">>> ")
        terminal.type(CTRL_Z)
        terminal.wait_for("Stopped")
        terminal.wait_for("ready> ")
        terminal.line("echo back in $((40 + 2))")
        terminal.wait_for("back in 42")
        terminal.line("fg; echo status $?")
        terminal.wait_for("connect lab")
        terminal.line("print(6 * 7)")
        terminal.wait_for("42")
        terminal.line("raise SystemExit(7)")
        terminal.wait_for("status 7")


def test_ctrl_c_ends_a_script_with_its_own_traceback(lab: Run, tmp_path: Path) -> None:
    script(tmp_path, BEGIN + WAIT)
    with on_terminal(lab, tmp_path) as terminal:
        terminal.line("dask-runner connect script.py; echo status $?")
        terminal.wait_for("begun")
        terminal.type(CTRL_C)
        shown = terminal.wait_for("status 130")
    assert shown.count("Traceback") == 1
    assert "dask_runner" not in shown.partition("Traceback")[2]


#: Leaves the terminal as an editor has it.
RAW = "import termios, tty; tty.setraw(0); print('ra' + 'w', flush=True)"


@pytest.mark.parametrize("how", ["program", "cluster"])
def test_a_program_that_dies_leaves_a_terminal_that_can_be_used(
    dying: Run, tmp_path: Path, how: str
) -> None:
    with on_terminal(dying, tmp_path) as terminal:
        script(tmp_path, f"{RAW}\nimport time; time.sleep(600)", "mess.py")
        terminal.line("dask-runner connect lab mess.py; echo status $?")
        terminal.wait_for("raw")
        assert not terminal.echoes
        if how == "program":
            (child,) = child_of(dying)
            os.kill(child, signal.SIGKILL)
            terminal.wait_for("status 137")
        else:
            os.kill(rank_0(dying), signal.SIGKILL)
            terminal.wait_for("the cluster 'lab' is lost")
            terminal.wait_for("status 69")
        terminal.wait_for("ready> ")
    if how == "program":
        stopped(dying)


# --- the cluster ends, or is lost ---------------------------------------------------


def test_a_program_that_fails_with_its_cluster_ends_with_69(
    dying: Run, tmp_path: Path
) -> None:
    text = (
        BEGIN
        + """
from distributed import fire_and_forget
print("begun", flush=True)
while client.status == "running":
    time.sleep(0.01)
raise SystemExit(1)
"""
    )
    with waiting(dying, tmp_path, text) as program:
        os.kill(dying.named("dask-scheduler")[0], signal.SIGKILL)
        # Dask says so as well, of a client that is connecting again.
        ended = program.wait(stray=".*")
    assert ended.status == 69, ended
    assert ended.stderr.count(f"{LOST}has ended with status 69") == 1, ended


def test_a_program_that_is_deaf_is_killed_with_its_cluster(
    dying: Run, tmp_path: Path
) -> None:
    with waiting(dying, tmp_path, BEGIN + DEAF + WAIT) as program:
        os.kill(rank_0(dying), signal.SIGKILL)
        ended = program.wait()
    assert ended.status == 69
    assert f"got {signal.SIGTERM:d}" in ended.stdout


# --- a client dies, and costs the cluster nothing -----------------------------------


def test_the_program_and_its_keys_are_gone_with_a_command_that_is_killed(
    lab: Run, tmp_path: Path
) -> None:
    text = (
        BEGIN
        + """
from dask.config import get
print(get("distributed.comm.tls.client.key"))
"""
        + WAIT
    )
    with waiting(lab, tmp_path, text) as program:
        key = Path(program.stdout.split()[0])
        assert "PRIVATE KEY" in key.read_text()
        program.signal(signal.SIGKILL)
        assert program.wait().status == 137
        assert not key.exists()
    with connected(lab, "lab", "-c", SUM) as another:
        assert another.wait().stdout == "3\n"


def test_a_command_that_is_stopped_goes_on_when_it_is_continued(
    lab: Run, tmp_path: Path
) -> None:
    with waiting(lab, tmp_path, BEGIN + UNTIL_TOLD) as program:
        program.signal(signal.SIGSTOP)
        (tmp_path / "go").touch()
        program.signal(signal.SIGCONT)
        assert program.wait().status == 0
