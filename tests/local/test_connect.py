"""One more client of a running cluster, and what becomes of the one with the other."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.local.serving import rank_0
from tests.running import DASK_RUNNER, Run
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECONDS = 60

#: Says whose client it is, in one line.
SCRIPT = """\
import json, sys
import dask
from distributed import Client
client = Client()
print(json.dumps({
    "argv": sys.argv,
    "workers": sorted(client.run(lambda dask_worker: dask_worker.name).values()),
    "compute": dask.delayed(lambda: 5)().compute(),
    "file": __file__,
}))
"""
#: Holds a client for as long as it lives, and counts the signals that it gets.
HOLD = """\
import signal, sys, time
from distributed import Client
client = Client()
came = []
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, lambda number, frame: came.append(number))
print("here", flush=True)
while not came:
    time.sleep(0.05)
time.sleep(1)
print(came, flush=True)
sys.exit(7)
"""
FOREVER = """\
import time
from distributed import Client
client = Client()
print("here", flush=True)
time.sleep(600)
"""

pytestmark = pytest.mark.xdist_group("connect")


@pytest.fixture(scope="module")
def served() -> Iterator[Run]:
    with serving("lab") as run:
        yield run
        assert call(run, "stop", "lab").returncode == 0
        assert run.wait().status == 0


def serving(name: str, **how: Any) -> Run:
    run = Run((str(DASK_RUNNER), "serve", "-n", "2", "--name", name), **how)
    run.wait_for("ready after")
    return run


def environ(run: Run) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(run.home)}


def call(
    run: Run, *args: str, stdin: str | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(DASK_RUNNER), *args],
        env=environ(run),
        input=stdin,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def start(run: Run, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(DASK_RUNNER), *args],
        env=environ(run),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def holding(run: Run, code: str, name: str = "lab") -> subprocess.Popen[str]:
    client = start(run, "connect", name, "-c", code)
    assert client.stdout is not None
    assert client.stdout.readline() == "here\n"
    return client


def clients(run: Run) -> int:
    found: int = json.loads(call(run, "list", "--json").stdout)["clusters"][0][
        "clients"
    ]
    return found


# --- which program, and which cluster -----------------------------------------


@pytest.mark.parametrize("words", [("lab", "s.py"), ("s.py",), ("lab", "./s.py")])
def test_a_script_is_a_client_of_the_cluster(
    served: Run, tmp_path: Path, words: tuple[str, ...]
) -> None:
    (tmp_path / "s.py").write_text(SCRIPT)
    done = call(served, "connect", *words, "a", "-n", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {
        "argv": [words[-1], "a", "-n"],
        "workers": [0, 1],
        "compute": 5,
        "file": f"{tmp_path}/{words[-1]}",
    }


def test_a_module_a_line_and_standard_input_run_as_with_python(
    served: Run, tmp_path: Path
) -> None:
    (tmp_path / "s.py").write_text(SCRIPT)
    for words in (("-m", "s"), ("-c", f"__file__ = 'x'\n{SCRIPT}"), ("lab", "-m", "s")):
        done = call(served, "connect", *words, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, ""), done
        assert json.loads(done.stdout)["workers"] == [0, 1]
    done = call(served, "connect", "lab", "-", stdin=SCRIPT)
    assert json.loads(done.stdout)["file"] == "<stdin>"


def test_client_in_any_python_below_a_command_is_the_clusters(served: Run) -> None:
    code = "from distributed import Client; print(len(Client().nthreads()))"
    done = call(
        served, "connect", "lab", "--", "sh", "-c", f'{sys.executable} -c "{code}"'
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "2\n", "")


def test_many_connect_at_a_time_and_one_that_is_killed_costs_nothing(
    served: Run,
) -> None:
    held = [holding(served, FOREVER) for _ in range(3)]
    for one in held:
        one.kill()
        one.communicate(timeout=SECONDS)
    # The program ends with the process that has started it.
    until(lambda: not clients(served), SECONDS)
    done = call(served, "connect", "-c", "print('on')")
    assert (done.returncode, done.stdout) == (0, "on\n")


@pytest.mark.parametrize(
    ("words", "status", "saw"),
    [
        (("lob", "-c", "1"), 69, "no cluster named 'lob' in "),
        (("lab", "no.py"), 78, "the script 'no.py': No such file"),
        (("lab", "-m", "no_such"), 1, "No module named 'no_such'"),
        (("lab", "--", "no-such"), 78, "no-such"),
        (("lab",), 2, "no program to run"),
        ((), 2, "no program to run"),
        (("--timeout", "x", "lab", "-c", "1"), 2, "timeout"),
    ],
)
def test_what_cannot_run_is_told(
    served: Run, words: tuple[str, ...], status: int, saw: str
) -> None:
    done = call(served, "connect", *words)
    assert (done.returncode, done.stdout) == (status, "")
    assert saw in done.stderr
    assert "Traceback" not in done.stderr


# --- statuses and signals ------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("import sys; sys.exit(3)", 3),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137),
        ("import os; os._exit(4)", 4),
    ],
)
def test_the_status_is_the_programs(served: Run, code: str, status: int) -> None:
    done = call(served, "connect", "lab", "-c", code)
    killed = "dask-runner: error: the program was killed by SIGKILL\n"
    assert (done.returncode, done.stderr) == (status, killed * (status == 137))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_is_passed_on_once(served: Run, number: int) -> None:
    client = holding(served, HOLD)
    client.send_signal(number)
    out, err = client.communicate(timeout=SECONDS)
    assert (client.returncode, out, err) == (7, f"[{int(number)}]\n", "")


def test_ctrl_c_at_a_terminal_reaches_the_program_once(served: Run) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        line = [str(DASK_RUNNER), "connect", "lab", "-c", HOLD]
        os.execve(line[0], line, environ(served))  # noqa: S606  pty.fork's child
    said = b""
    while b"here" not in said:
        said += os.read(terminal, 1000)
    os.write(terminal, b"\x03")
    while b"]" not in said:
        said += os.read(terminal, 1000)
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 7
    assert b"[2]" in said


# --- the end of the cluster ------------------------------------------------------


@pytest.mark.parametrize(
    ("waits", "traceback"),
    [
        pytest.param("time.sleep(600)", False, id="for nothing"),
        # It fails of itself, within a moment of the scheduler's end.
        pytest.param("client.submit(time.sleep, 600).result()", True, id="for a task"),
    ],
)
def test_a_program_whose_cluster_is_lost_ends_with_69(
    waits: str, traceback: bool
) -> None:
    with serving("lab") as run:
        client = holding(run, FOREVER.replace("time.sleep(600)", waits))
        (scheduler,) = run.named("dask-scheduler")
        os.kill(scheduler, signal.SIGKILL)
        _, err = client.communicate(timeout=SECONDS)
        assert client.returncode == 69
        assert "the cluster 'lab' has ended with status 69" in err
        assert traceback or "Traceback" not in err
        assert run.wait().status == 69


def test_a_program_whose_hub_is_killed_ends_with_69() -> None:
    with serving("lab") as run:
        client = holding(run, FOREVER)
        os.kill(rank_0(run), signal.SIGKILL)
        _, err = client.communicate(timeout=SECONDS)
        assert client.returncode == 69
        assert "the cluster 'lab' is lost: nothing listens there" in err
        assert run.wait().status != 0


def test_a_program_goes_on_when_its_cluster_was_stopped_in_order() -> None:
    code = "client.shutdown(); time.sleep(2); print('done')"
    with serving("lab") as run:
        done = call(run, "connect", "-c", FOREVER.replace("time.sleep(600)", code))
        assert (done.returncode, done.stdout) == (0, "here\ndone\n")
        assert done.stderr == "dask-runner: the cluster 'lab' has ended\n"
        assert run.wait().status == 0


def test_a_cluster_of_other_versions_is_told_before_the_program_runs() -> None:
    with serving("lab") as run:
        file = run.home / ".dask-runner" / "cluster-lab.json"
        record = json.loads(file.read_text())
        record["cluster"]["distributed"] = "2024.1.0"
        file.write_text(json.dumps(record))
        done = call(run, "connect", "lab", "-c", "print('ran')")
        assert (done.returncode, done.stdout) == (0, "ran\n")
        assert "has Python " in done.stderr
        assert "distributed 2024.1.0" in done.stderr
        assert call(run, "stop").returncode == 0
        assert run.wait().status == 0
