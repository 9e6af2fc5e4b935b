"""``dask-runner job`` as a command: what it prints, and with which status it ends."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from dask_runner.batch.systems import SYSTEMS
from tests.running import DASK_RUNNER

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import DaskRunner

#: What stands in Dask's configuration of a site.
YAML = """\
runner:
  timeout: 120
  job:
    image: /apps/dask-runner.sif
    time: 1:00:00
    prologue: [module load apptainer]
    slurm: {partition: batch}
    sge: {parallel-environment: mpi}
"""


@pytest.fixture
def configured(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "runner.yaml").write_text(YAML)
    return {"DASK_CONFIG": str(tmp_path)}


def test_a_site_sets_the_rest_in_dasks_configuration(
    dask_runner: DaskRunner, configured: dict[str, str]
) -> None:
    ended = dask_runner("job", "slurm", "-N", 4, "--", "serve", env=configured)

    assert (ended.status, ended.stderr) == (0, ""), ended
    lines = ended.stdout.splitlines()
    assert "#SBATCH --partition=batch" in lines
    assert "#SBATCH --time=1:00:00" in lines
    assert "module load apptainer" in lines
    assert lines[-1] == "exec srun apptainer run /apps/dask-runner.sif serve"


def test_variables_set_it_as_well_and_count_more(
    dask_runner: DaskRunner, configured: dict[str, str]
) -> None:
    own = {"DASK_RUNNER__JOB__SLURM__PARTITION": "short"}

    ended = dask_runner("job", "slurm", "--", "serve", env=configured | own)
    alone = dask_runner(
        *("job", "slurm", "--", "serve"), env=own | {"APPTAINER_CONTAINER": "/x.sif"}
    )

    assert "#SBATCH --partition=short\n" in ended.stdout, ended
    assert "#SBATCH --partition=short\n" in alone.stdout, alone
    assert alone.stdout.endswith("\nexec srun apptainer run /x.sif serve\n"), alone


def test_a_run_takes_no_notice_of_what_is_for_jobs(
    dask_runner: DaskRunner, configured: dict[str, str]
) -> None:
    own = {"DASK_RUNNER__JOB__SLURM__PARTITION": "short"}

    ended = dask_runner("info", "--json", env=configured | own)

    assert ended.status == 0, ended
    assert "partition" not in ended.stdout
    assert "120" in json.dumps(json.loads(ended.stdout))


@pytest.mark.parametrize(
    ("args", "status", "told"),
    [
        (["slrum", "--", "serve"], 2, "there is no batch system 'slrum'"),
        ([], 2, "Missing argument 'SYSTEM'"),
        (["slurm", "--image", "x"], 2, "nothing to run in the job"),
        (["slurm", "--nods", "2", "--", "serve"], 2, "there is no option --nods"),
        (["slurm", "--image", "x", "--", "stop"], 2, "dask-runner stop in a job"),
        (["slurm", "-t", "30", "--", "serve"], 2, "--time (-t) = '30'"),
        (["oar", "--mem", "3GiB", "--image", "x", "--", "serve"], 2, "--mem"),
        (["slurm", "--", "serve"], 78, "needs image, which has no value"),
        (["slurm", "--templates", "/none", "--", "serve"], 78, "no directory /none"),
        (
            ["slurm", "--image", "x", "--submit", "--", "serve"],
            78,
            "there is no sbatch on the PATH here",
        ),
        (["slurm", "--image", "x", "-J", "a\nb", "--", "serve"], 2, "--job-name"),
    ],
)
def test_a_mistake_has_one_message_of_three_parts_and_no_script(
    dask_runner: DaskRunner, args: list[str], status: int, told: str
) -> None:
    ended = dask_runner("job", *args, env={"PATH": "/usr/bin:/bin"})

    assert (ended.status, ended.stdout) == (status, ""), ended
    first, *_ = ended.stderr.splitlines()
    assert first.startswith("dask-runner: error: ")
    assert told in first, ended
    assert ended.stderr.count("needed: ") == 1, ended
    assert ended.stderr.count("you can: ") == 1, ended


def test_wrong_configuration_is_told(dask_runner: DaskRunner, tmp_path: Path) -> None:
    (tmp_path / "runner.yaml").write_text("runner: {job: [1]}")

    ended = dask_runner(
        *("job", "slurm", "--", "serve"), env={"DASK_CONFIG": str(tmp_path)}
    )

    assert (ended.status, ended.stdout) == (78, ""), ended
    assert "runner.job = [1]" in ended.stderr


def test_a_site_copies_a_template_and_changes_it(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    shown = dask_runner("job", "slurm", "--show-template")
    assert (shown.status, shown.stderr) == (0, ""), shown
    changed = shown.stdout.replace(
        "#!/bin/sh\n", "#!/bin/sh\n#SBATCH --constraint={{ kind | plain }}\n"
    )
    (tmp_path / "slurm.j2").write_text(changed)
    own = ("job", "slurm", "--templates", tmp_path, "--image", "/x.sif")

    ended = dask_runner(*own, "--set", "kind=milan", "--", "serve")
    without = dask_runner(*own, "--", "serve")

    assert ended.stdout.startswith("#!/bin/sh\n#SBATCH --constraint=milan\n"), ended
    assert without.status == 78
    assert "give --set kind=VALUE" in without.stderr, without


def test_help_names_every_system(dask_runner: DaskRunner) -> None:
    ended = dask_runner("job", "--help")

    assert ended.status == 0, ended
    text = " ".join(ended.stdout.split())
    assert ", ".join(system.name for system in SYSTEMS) in text


def test_a_command_line_that_is_hostile_stays_words(dask_runner: DaskRunner) -> None:
    args = ["script.py", "it's $(touch owned)", "x\ntouch owned", "-n", "--"]

    ended = dask_runner("job", "slurm", "--image", "/x.sif", "--", *args)

    assert ended.status == 0, ended
    assert ended.stdout.endswith(
        "\nexec srun apptainer run /x.sif script.py "
        "'it'\"'\"'s $(touch owned)' 'x\ntouch owned' -n --\n"
    ), ended


def test_a_reader_that_has_gone_is_told_without_a_traceback(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)

    with os.fdopen(write, "wb") as pipe:
        done = subprocess.run(
            [DASK_RUNNER, "job", "slurm", "--image", "/x.sif", "--", "serve"],
            cwd=tmp_path,
            stdout=pipe,
            stderr=subprocess.PIPE,
            check=False,
        )

    assert done.returncode == 75
    assert b"cannot be printed: Broken pipe" in done.stderr
    assert b"Traceback" not in done.stderr
