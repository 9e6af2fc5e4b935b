"""A command that queues a job again: what it says, refuses, and never says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dask_runner.errors import ConfigError, RunnerError
from dask_runner.hub import requeue
from dask_runner.hub.requeue import ByScontrol

if TYPE_CHECKING:
    from pathlib import Path

ENVIRON = {"PATH": "/usr/bin:/bin", "DASKRUNNER_REQUEUE": "/x", "KEPT": "1"}


def way(directory: Path, script: str) -> ByScontrol:
    """Return one whose command is a shell script."""
    command = directory / "scontrol"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    return ByScontrol(str(command), "7", ENVIRON)


def test_it_gets_the_job_and_the_environment_of_a_user(tmp_path: Path) -> None:
    way(tmp_path, f"echo $* >{tmp_path}/words; env >{tmp_path}/env").ask()
    assert (tmp_path / "words").read_text() == "requeue 7\n"
    assert "KEPT=1" in (tmp_path / "env").read_text()
    assert "DASKRUNNER_" not in (tmp_path / "env").read_text()


def test_a_refusal_is_told_in_its_words(tmp_path: Path) -> None:
    with pytest.raises(RunnerError) as failure:
        way(tmp_path, "printf 'no \\033[31m job' >&2; exit 1").ask()
    assert failure.value.saw.startswith("scontrol requeue 7 ended with status 1: no ")
    assert "\x1b" not in failure.value.saw


def test_one_that_is_killed_with_its_job_has_done_its_work(tmp_path: Path) -> None:
    way(tmp_path, "kill -TERM $$").ask()


def test_one_that_never_ends_is_given_up_with_all_that_it_has_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requeue, "SCONTROL_SECONDS", 0.5)
    with pytest.raises(RunnerError, match=r"has not ended after 0\.5 s"):
        way(tmp_path, "sleep 600 & sleep 600").ask()


def test_one_that_cannot_be_started_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunnerError, match="cannot be started: No such file"):
        ByScontrol(f"{tmp_path}/gone", "7", ENVIRON).ask()


@pytest.mark.parametrize(
    ("says", "saw"),
    [
        ("JobId=7 Requeue=0 Restarts=0 BatchFlag=1", "not to queue job 7 again"),
        ("JobId=7 Requeue=1 Restarts=0 BatchFlag=0", "job 7 has no job script"),
    ],
)
def test_a_job_that_slurm_does_not_queue_again_is_told_at_the_start(
    tmp_path: Path, says: str, saw: str
) -> None:
    with pytest.raises(ConfigError, match=saw):
        way(tmp_path, f"echo '{says}'").check()


def test_a_command_that_does_not_work_here_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no munge"):
        way(tmp_path, "echo no munge >&2; exit 1").check()


def test_a_server_that_is_slow_at_the_start_may_answer_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requeue, "SCONTROL_SECONDS", 0.5)
    way(tmp_path, "sleep 600").check()


def test_a_job_that_can_be_queued_again_is_no_error(tmp_path: Path) -> None:
    way(tmp_path, "echo 'JobId=7 Requeue=1 Restarts=0 BatchFlag=1'").check()
