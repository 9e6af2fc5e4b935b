"""Which batch system is here, and how its commands' words are read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from dask_runner.batch.queue import system_here
from dask_runner.batch.systems import BY_NAME, SYSTEMS
from dask_runner.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

#: What the commands that submit print, by their manuals.
PRINTED = {
    "slurm": "Submitted batch job 17\n",
    "pbs": "17.head.example.org\n",
    "lsf": "Job <17> is submitted to queue <normal>.\n",
    "sge": 'Your job 17 ("dask") has been submitted\n',
    "htcondor": "17.0 - 17.3\n",
}


def path_with(directory: Path, *commands: str) -> dict[str, str]:
    for name in commands:
        (directory / name).write_text("")
        (directory / name).chmod(0o700)
    return {"PATH": str(directory)}


@pytest.mark.parametrize(
    "name", [system.name for system in SYSTEMS if system.queue is not None]
)
def test_the_number_of_a_job_is_read_from_what_is_printed(name: str) -> None:
    queue = BY_NAME[name].queue
    assert queue is not None
    found = re.search(queue.submitted, PRINTED[name], re.ASCII | re.MULTILINE)
    assert found is not None
    assert found[1] == "17"


def test_the_only_system_whose_command_is_here_is_taken(tmp_path: Path) -> None:
    environ = path_with(tmp_path, "bsub", "ls")
    assert system_here("openmpi", environ).name == "lsf"


def test_the_clusters_own_system_is_taken_where_several_are_here(
    tmp_path: Path,
) -> None:
    environ = path_with(tmp_path, "sbatch", "qsub", "bsub")
    assert system_here("slurm", environ).name == "slurm"


@pytest.mark.parametrize(
    ("commands", "saw"),
    [
        ((), "no command that submits jobs is on the PATH here"),
        # PBS and Grid Engine name theirs alike.
        (("qsub",), "the commands of PBS and Grid Engine are here"),
    ],
)
def test_what_is_not_clear_is_asked_for(
    tmp_path: Path, commands: tuple[str, ...], saw: str
) -> None:
    with pytest.raises(ConfigError, match=saw) as refused:
        system_here("openmpi", path_with(tmp_path, *commands))
    assert 'job={"system": ' in refused.value.do
