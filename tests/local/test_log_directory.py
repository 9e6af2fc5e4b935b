"""--log-directory: a file for each process, there after each end."""

from __future__ import annotations

import os
import signal
import socket
import stat
from typing import TYPE_CHECKING

import pytest

from tests.local.test_bad_input import CONFIG, one_message
from tests.local.test_disks import full
from tests.programs import clean, script
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import DaskRunner, Require

#: All workers say something, in each way; the script waits for its word.
SAYS = """
import logging, os, sys, time
from dask.distributed import Client

def says():
    print("printed")
    print("complained", file=sys.stderr)
    logging.getLogger("distributed.worker").warning("logged")
    os.system("echo below")

if __name__ == "__main__":
    client = Client()
    client.run(says)
    client.run_on_scheduler(says)
    print("begun")
    while not os.path.exists(sys.argv[1]):
        time.sleep(0.02)
"""
AGENT = f"agent-{socket.gethostname()}.log"
FILES = {"scheduler.log", AGENT, "worker-0.log", "worker-1.log"}
COMPLAINS = r"(\[\S+\] )?complained"


def said(log: Path) -> set[str]:
    """Return what the task has had a process write."""
    lines = {line.rpartition(" ")[2] for line in log.read_text().splitlines()}
    return lines & {"printed", "complained", "logged", "below"}


@pytest.mark.parametrize("label", ["--label", "--no-label"])
def test_each_process_has_a_file_with_all_that_it_says(
    dask_runner: DaskRunner, tmp_path: Path, label: str
) -> None:
    logs, go = tmp_path / "logs", tmp_path / "go"
    go.touch()
    path = script(tmp_path, SAYS)
    args = ("-n", 2, "--log-directory", logs / "{job_id}", label, path, go)
    ended = dask_runner(*args, stray=COMPLAINS)
    assert ended.status == 0, ended
    assert ended.stdout.count("printed\n") == 3
    assert ended.stdout.count("[") == (6 if label == "--label" else 0)
    (job,) = logs.iterdir()
    assert {one.name for one in job.iterdir()} == FILES
    for one in job.iterdir():
        assert stat.S_IMODE(one.stat().st_mode) == 0o600
        if one.name != AGENT:
            expected = {"printed", "complained", "logged", "below"}
            assert said(one) == expected, one.read_text()
    assert stat.S_IMODE(job.stat().st_mode) == 0o700


def test_the_files_are_there_after_each_end(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    logs, path = tmp_path / "logs", script(tmp_path, SAYS)
    go = tmp_path / "go"
    run = dask_runner.start("-n", 2, "--log-directory", logs, path, go)
    run.wait_for("begun")
    killed = run.named("dask-worker")[0]
    os.kill(killed, signal.SIGKILL)
    run.wait_for("was killed by SIGKILL")

    def starts() -> int:
        files = (logs / "worker-0.log", logs / "worker-1.log")
        return sum(one.read_text().count("Start worker at:") for one in files)

    # Another begins, in the file of the first.
    until(lambda: starts() > 2)
    for pid in run.pids:
        os.kill(pid, signal.SIGKILL)
    run.process.wait()
    assert {one.name for one in logs.iterdir()} == FILES
    for name in FILES - {AGENT}:
        assert "printed" in said(logs / name)


def test_a_second_job_destroys_nothing_of_the_first(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    logs = tmp_path / "logs"
    args = ("--log-directory", logs, "-c")
    clean(dask_runner(*args, "pass"))
    before = {one.name: one.read_text() for one in logs.iterdir()}
    clean(dask_runner(*args, "pass"))
    after = {one.name: one.read_text() for one in logs.iterdir()}
    assert {name: after[name] for name in before} == before
    assert {"scheduler.2.log", "worker-0.2.log"} < {*after}


def test_a_place_that_cannot_be_written_is_an_error_of_three_parts(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    args = ("-n", 2, "--log-directory", tmp_path / "file", "-c", "print('ran')")
    one_message(dask_runner(*args), CONFIG, "no log can be made in ")


def test_a_full_disk_costs_the_logs_and_not_the_job(
    dask_runner: DaskRunner, tmp_path: Path, require: Require
) -> None:
    go = tmp_path / "go"
    go.touch()
    with full(tmp_path / "disk", require) as disk:
        args = ("-n", 2, "--log-directory", disk, script(tmp_path, SAYS), go)
        ended = dask_runner(*args, stray=COMPLAINS)
        for one in disk.glob("*.log"):
            assert not one.read_text()
            one.unlink()
    assert ended.status == 0, ended
    assert ended.stdout.count("printed\n") == 3
    assert ended.stderr.count("lacks lines: No space left on device") == 1, ended
