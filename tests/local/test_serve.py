"""A cluster without a script: served under a name, listed, used, and ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.local.serving import SECONDS, call, file_of, rank_0, serving, stopped
from tests.programs import BEGIN, UNTIL_TOLD, script
from tests.running import DASK_RUNNER, Run
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

#: Connects by the scheduler file, with Dask alone, as anybody elsewhere can.
ATTACH = """
import json, sys
from distributed import Client, Security
file = json.load(open(sys.argv[1]))
client = Client(file["address"], security=Security(**file.get("security", {})))
"""
USE = f"{ATTACH}print(client.submit(sum, [1, 2]).result())\n"
SHUT_DOWN = f"{ATTACH}client.shutdown()\n"
#: Stays for as long as its stdin.
STAY = f"{ATTACH}print('here', flush=True)\nsys.stdin.read()\n"
#: Keeps a worker busy for as long as there is no file of that name.
BUSY = f"""{ATTACH}
def until(path):
    import os, time
    while not os.path.exists(path):
        time.sleep(0.1)

from distributed import fire_and_forget
fire_and_forget(client.submit(until, sys.argv[2]))
print('busy', flush=True)
sys.stdin.read()
"""


def ask(home: Path) -> list[dict[str, Any]]:
    ended = call(home, "list", "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    found: list[dict[str, Any]] = json.loads(ended.stdout)["clusters"]
    return found


def python(code: str, *args: object, **how: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **how,
    )


def address_is_written(run: Run, name: str = "lab") -> Path:
    """Wait for the file that has the scheduler's address; return its path."""
    until(lambda: "address" in json.loads(file_of(run, name).read_text()), SECONDS)
    return file_of(run, name)


def test_a_served_cluster_is_listed_used_and_stopped() -> None:
    with serving("--name", "lab") as run:
        (found,) = ask(run.home)
        assert (found["name"], found["workers"], found["clients"]) == ("lab", 2, 0)
        assert (found["ready"], found["serves"], found["ending"]) == (True, True, False)
        line = call(run.home, "list").stdout.splitlines()[1].split()
        assert line[0] == "lab"
        file = address_is_written(run)
        used = python(USE, file)
        assert used.communicate(timeout=SECONDS)[0] == "3\n"
        ended = stopped(run)
        assert ended.status == 0
        assert "end it with dask-runner stop lab" in ended.stderr
        assert not file.exists()
        assert ask(run.home) == []


def test_the_only_cluster_is_stopped_without_its_name() -> None:
    with serving() as run:
        name = f"local-{run.process.pid}"
        assert [one["name"] for one in ask(run.home)] == [name]
        assert call(run.home, "stop").returncode == 0
        assert run.wait().status == 0


def test_a_scheduler_file_is_enough_for_dasks_own_client(tmp_path: Path) -> None:
    file = tmp_path / "scheduler.json"
    with serving("--scheduler-file", str(file), "--security", "none") as run:
        client = "from distributed import Client; import sys; "
        client += "print(Client(scheduler_file=sys.argv[1]).submit(sum, [1, 2])"
        client += ".result())"
        assert python(client, file).communicate(timeout=SECONDS)[0] == "3\n"
        assert python(USE, file).communicate(timeout=SECONDS)[0] == "3\n"
        assert call(run.home, "stop").returncode == 0
        assert run.wait().status == 0


def test_rank_0_only_schedules_if_that_is_asked_for() -> None:
    with serving("--layout", "dedicated", "--name", "lab") as run:
        assert ask(run.home)[0]["workers"] == 1
        assert stopped(run).status == 0


# --- how it ends ----------------------------------------------------------------


def test_it_ends_when_a_client_shuts_it_down() -> None:
    with serving("--name", "lab") as run:
        with python(SHUT_DOWN, address_is_written(run)) as client:
            assert client.wait(SECONDS) == 0
        ended = run.wait()
        assert ended.status == 0
        assert "the client has shut the cluster down" in ended.stderr


def test_it_ends_when_it_was_idle_for_a_time_and_not_while_a_task_runs(
    tmp_path: Path,
) -> None:
    over = tmp_path / "over"
    with serving("--name", "lab", "--idle-timeout", "2") as run:
        with python(BUSY, address_is_written(run), over) as client:
            assert client.stdout is not None
            assert client.stdin is not None
            assert client.stdout.readline() == "busy\n"
            with pytest.raises(subprocess.TimeoutExpired):
                run.process.wait(4)
            assert ask(run.home)[0]["idle"] == 0
            over.touch()
            ended = run.wait()
            client.stdin.close()
        assert ended.status == 0
        assert "no task for 2 s (--idle-timeout): the cluster ends" in ended.stderr


def test_it_ends_when_nobody_has_been_connected_for_a_time() -> None:
    with serving("--name", "lab", "--no-client-timeout", "3") as run:
        with python(STAY, address_is_written(run)) as client:
            assert client.stdout is not None
            assert client.stdin is not None
            assert client.stdout.readline() == "here\n"
            with pytest.raises(subprocess.TimeoutExpired):
                run.process.wait(5)
            assert ask(run.home)[0]["clients"] == 1
            client.stdin.close()
        ended = run.wait()
        assert ended.status == 0
        assert "no client for 3 s (--no-client-timeout)" in ended.stderr


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_a_signal_ends_it_with_its_status(number: int, status: int) -> None:
    with serving("--name", "lab") as run:
        run.signal(number)
        assert run.wait().status == status
        assert not file_of(run).exists()


def test_it_is_lost_with_its_scheduler() -> None:
    with serving("--name", "lab") as run:
        (scheduler,) = run.named("dask-scheduler")
        os.kill(scheduler, signal.SIGKILL)
        ended = run.wait()
        assert ended.status == 69
        assert "the scheduler on " in ended.stderr
        assert "was killed by SIGKILL" in ended.stderr


def test_it_goes_on_without_a_client_that_was_killed() -> None:
    with serving("--name", "lab") as run:
        file = address_is_written(run)
        with python(STAY, file) as client:
            assert client.stdout is not None
            assert client.stdout.readline() == "here\n"
            client.kill()
        assert python(USE, file).communicate(timeout=SECONDS)[0] == "3\n"
        assert stopped(run).status == 0


def test_a_script_that_is_stopped_gets_sigterm(tmp_path: Path) -> None:
    code = script(tmp_path, BEGIN + UNTIL_TOLD)
    with Run((str(DASK_RUNNER), "-n", "2", "--name", "lab", str(code))) as run:
        run.wait_for("begun")
        ended = stopped(run)
        assert ended.status == 143
        assert "stopped by " in ended.stderr


# --- its name ----------------------------------------------------------------


def test_a_name_in_use_is_an_error_that_says_where_it_runs() -> None:
    with serving("--name", "lab") as run:
        home = {"HOME": str(run.home)}
        args = (str(DASK_RUNNER), "serve", "-n", "2", "--name", "lab")
        with Run(args, env=home) as second:
            ended = second.wait()
        assert ended.status == 78
        assert "a cluster named 'lab' is running on " in ended.stderr
        assert ended.stderr.count("error:") == 1
        assert [one["answers"] for one in ask(run.home)] == [True]
        assert stopped(run).status == 0


def test_the_agent_removes_the_file_of_a_rank_0_that_is_killed() -> None:
    with serving("--name", "lab") as run:
        os.kill(rank_0(run), signal.SIGKILL)
        assert run.wait().status != 0
        assert not file_of(run).exists()


def test_a_cluster_that_was_killed_as_a_whole_is_not_in_the_way() -> None:
    with serving("--name", "lab") as run:
        text = file_of(run).read_text()
        assert stopped(run).status == 0
        file_of(run).parent.mkdir(0o700)
        file_of(run).touch(0o600)
        file_of(run).write_text(text)
        (found,) = ask(run.home)
        assert (found["answers"], found["trouble"]) == (
            False,
            "no answer: nothing listens there",
        )
        ended = call(run.home, "stop", "lab")
        assert ended.returncode == 69
        assert "does not answer at " in ended.stderr
        home = {"HOME": str(run.home)}
        with serving("--name", "lab", env=home):
            (found,) = ask(run.home)
            assert found["answers"]
            assert call(run.home, "stop", "lab").returncode == 0


def test_a_file_of_a_killed_cluster_is_removed_when_it_is_old() -> None:
    with serving("--name", "lab") as run:
        text = file_of(run).read_text()
        assert stopped(run).status == 0
        file_of(run).parent.mkdir(0o700)
        file_of(run).touch(0o600)
        file_of(run).write_text(text)
        os.utime(file_of(run), (1, 1))
        assert ask(run.home) == []
        assert not file_of(run).exists()


def test_a_cluster_that_stands_still_is_told_and_does_not_hold_up_the_list() -> None:
    with serving("--name", "lab") as run:
        home = {"HOME": str(run.home)}
        with serving("--name", "other", env=home):
            os.kill(rank_0(run), signal.SIGSTOP)
            found = {one["name"]: one for one in ask(run.home)}
            assert found["other"]["answers"]
            assert "no answer within" in found["lab"]["trouble"]
            os.kill(rank_0(run), signal.SIGCONT)
            assert call(run.home, "stop", "other").returncode == 0
        assert stopped(run).status == 0


@pytest.mark.parametrize("name", ["a b", "../x", ""])
def test_what_is_no_name_is_refused_as_an_option(name: str) -> None:
    with Run((str(DASK_RUNNER), "serve", "--name", name)) as run:
        ended = run.wait()
    assert ended.status == 2
    assert "1 to 64 letters, digits, dots" in ended.stderr


def test_a_cluster_without_a_home_has_no_name_and_a_script_runs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    home = {"HOME": str(tmp_path / "file")}
    with Run((str(DASK_RUNNER), "-n", "2", "-c", "print('ran')"), env=home) as run:
        ended = run.wait()
    assert (ended.status, ended.stdout) == (0, "ran\n")
    assert "nothing can attach to this cluster" in ended.stderr

    args = (str(DASK_RUNNER), "serve", "-n", "2")
    with Run(args, env=home) as run:
        ended = run.wait()
    assert ended.status == 78
    assert "the cluster cannot be found by name" in ended.stderr
    assert ended.stderr.count("error:") == 1
