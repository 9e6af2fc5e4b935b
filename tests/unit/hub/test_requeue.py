"""How a job is queued again, and what is told at the start where it cannot be."""

from __future__ import annotations

import stat
import time
from pathlib import Path
from typing import Any

import pytest

from dask_runner.errors import ConfigError, RunnerError
from dask_runner.hub.requeue import ByJobScript, ByScontrol, choose
from dask_runner.launch.launch import Launch
from dask_runner.launch.plan import make_plan
from dask_runner.launch.settings import settle
from tests.unit.records import world


def launch(before: float | None = 60, left: int | None = 600, **environ: str) -> Launch:
    job = {"SLURM_JOB_ID": "7", "PATH": "/nowhere"}
    if left is not None:
        job["SLURM_JOB_END_TIME"] = str(int(time.time()) + left)
    settings = settle({"requeue_before": before}, {})
    return Launch(world(), make_plan(4, "shared"), settings, {**job, **environ})


def refused(one: Launch) -> str:
    with pytest.raises(ConfigError) as failure:
        choose(one)
    assert failure.value.needed
    assert failure.value.do
    return failure.value.saw


def scontrol(directory: Path) -> str:
    """Make a command of that name which may be run; return its directory."""
    command = directory / "scontrol"
    command.touch()
    command.chmod(0o755)
    return str(directory)


def test_nobody_asks_for_it() -> None:
    assert choose(launch(None)) is None


def test_a_job_script_that_names_a_file_comes_first(tmp_path: Path) -> None:
    by_script = {"DASKRUNNER_REQUEUE": str(tmp_path / "again")}
    found = choose(launch(PATH=scontrol(tmp_path), **by_script))
    assert found == ByJobScript(tmp_path / "again")


def test_scontrol_is_called_where_it_is(tmp_path: Path) -> None:
    found = choose(launch(PATH=scontrol(tmp_path)))
    assert isinstance(found, ByScontrol)
    assert (found.scontrol, found.job) == (f"{tmp_path}/scontrol", "7")


@pytest.mark.parametrize(
    ("how", "saw"),
    [
        ({}, "there is no scontrol on the PATH here"),
        ({"left": None}, "nothing tells when it ends"),
        ({"left": 60}, "the job ends in "),
        ({"left": -5}, "the job ends in 0 s"),
    ],
)
def test_what_cannot_be_is_told_at_the_start(how: dict[str, Any], saw: str) -> None:
    assert saw in refused(launch(**how))


def test_outside_of_slurm_it_is_told_how_to_come_there() -> None:
    outside = Launch(
        world(), make_plan(4, "shared"), settle({"requeue_before": 60}, {}), {}
    )
    assert "no job of Slurm" in refused(outside)


def test_the_file_is_the_users_alone(tmp_path: Path) -> None:
    way = ByJobScript(tmp_path / "again")
    way.check()
    way.ask()
    assert stat.S_IMODE((tmp_path / "again").stat().st_mode) == 0o600
    assert not (tmp_path / "again").read_text()


@pytest.mark.parametrize("name", ["none/again", "again"])
def test_a_file_that_cannot_be_written_is_told_at_the_start(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "again").symlink_to("elsewhere")
    with pytest.raises(ConfigError):
        ByJobScript(tmp_path / name).check()


def test_a_link_that_somebody_lays_in_the_way_is_not_followed(tmp_path: Path) -> None:
    way = ByJobScript(tmp_path / "again")
    way.check()
    (tmp_path / "again").symlink_to(tmp_path / "mine")
    with pytest.raises(RunnerError, match="File exists"):
        way.ask()
    assert not (tmp_path / "mine").exists()


def test_a_relative_name_is_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    with pytest.raises(ConfigError, match="no file can be written"):
        ByJobScript(Path("again")).check()
