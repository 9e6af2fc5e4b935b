"""What a process knows of a launch in which ranks are handed out."""

from __future__ import annotations

from typing import Any

import pytest

from dask_runner.errors import ConfigError
from dask_runner.launch.handed_out import (
    SYSTEMS,
    Asked,
    asked,
    batch_job,
    counted,
    system,
)
from dask_runner.launch.settings import Setting, settle
from tests.unit.environs import SLURM, environ

#: Files as batch systems write them.
FILES = {
    "/nodes": "n1\nn1\nn2\nn2\n",
    "/hosts": "n1.site 4 all.q@n1 UNDEFINED\nn2.site 4 all.q@n2 UNDEFINED\n",
    "/empty": "",
}
PBS = {"PBS_JOBID": "12.server", "PBS_NODEFILE": "/nodes"}
SGE = {"JOB_ID": "7", "SGE_TASK_ID": "undefined", "PE_HOSTFILE": "/hosts"}
OAR = {"OAR_JOB_ID": "9", "OAR_NODEFILE": "/nodes"}
LSF = {"LSB_JOBID": "5", "LSB_JOBINDEX": "0", "LSB_DJOB_NUMPROC": "4"}


def read(path: str) -> str:
    if path not in FILES:
        raise FileNotFoundError(2, "No such file or directory")
    return FILES[path]


def ask(environ: dict[str, str], **given: Any) -> Asked | None:
    return asked(environ, settle(given, {}), read)


@pytest.mark.parametrize(
    ("variables", "name", "size", "job"),
    [
        (PBS, "pbs", 4, "12.server"),
        (SGE, "sge", 2, "7"),
        (OAR, "oar", 2, "9"),
        (LSF, "lsf", 4, "5"),
        ({"SLURM_JOB_ID": "3", "SLURM_ARRAY_TASK_COUNT": "8"}, "slurm", 8, "3"),
    ],
)
def test_a_batch_system_tells_the_size_and_the_job(
    variables: dict[str, str], name: str, size: int, job: str
) -> None:
    found = ask(variables, size="auto")
    assert found is not None
    assert (found.system, found.size, found.job_id) == (name, size, job)


def test_each_row_says_how_ranks_are_started() -> None:
    assert all("dask-runner" in row.start for row in SYSTEMS)


@pytest.mark.parametrize(
    ("variables", "is_task"),
    [
        ({**PBS, "PBS_TASKNUM": "1"}, False),  # the job script
        ({**PBS, "PBS_TASKNUM": "3"}, True),
        (LSF, False),
        ({**LSF, "LSF_PM_TASKID": "2"}, True),
    ],
)
def test_a_task_of_the_systems_own_command_needs_no_option(
    variables: dict[str, str], is_task: bool
) -> None:
    assert (ask(variables) is not None) == is_task


def test_nothing_is_handed_out_where_nobody_asks_for_it() -> None:
    assert ask({}) is None
    assert ask(SGE) is None
    assert ask({**PBS, "PBS_TASKNUM": "3"}, launcher="none") is None


def test_local_ranks_are_counted_by_their_launcher() -> None:
    settings = settle({"nranks": 2}, {"size": Setting(3, "DASK_RUNNER__SIZE")})
    assert asked({}, settings) is None
    with pytest.raises(ConfigError, match="-n 2 and --size 3"):
        ask({}, nranks=2, size=3)


def test_a_name_makes_one_launch_of_the_elements_of_an_array() -> None:
    one = {"SLURM_JOB_ID": "41", "SLURM_ARRAY_JOB_ID": "40"}
    other = {"SLURM_JOB_ID": "42", "SLURM_ARRAY_JOB_ID": "40"}
    named = [ask(element, size=2, name="lab") for element in (one, other)]
    alone = [ask(element, size=2) for element in (one, other)]
    assert named[0] is not None
    assert named[1] is not None
    assert named[0].key == named[1].key
    assert alone[0] is not None
    assert alone[1] is not None
    assert alone[0].key != alone[1].key


@pytest.mark.parametrize(
    ("variables", "job"),
    [
        ({**LSF, "LSB_JOBINDEX": "3"}, "5-3"),
        ({**SGE, "SGE_TASK_ID": "3"}, "7-3"),
        ({**SGE, "DASKRUNNER_JOB_ID": "mine"}, "mine"),
    ],
)
def test_an_element_of_an_array_is_a_job_of_its_own(
    variables: dict[str, str], job: str
) -> None:
    found = ask(variables, size=2)
    assert found is not None
    assert found.job_id == job


def test_two_launches_have_two_keys() -> None:
    keys = {
        found.key
        for variables, name in (
            ({}, "lab"),
            ({}, "lab2"),
            (PBS, "lab"),
            (PBS, None),
            (OAR, None),
            ({"OAR_JOB_ID": "lab"}, None),
        )
        if (found := ask(variables, size=2, name=name))
    }
    assert len(keys) == 6


def test_a_launch_without_a_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="without a name") as failure:
        ask({}, size=3)
    assert failure.value.do == "add --name NAME to each of them"


@pytest.mark.parametrize(
    ("variables", "saw"),
    [
        ({}, "no variable of a batch system"),
        ({**PBS, "PBS_NODEFILE": "/gone"}, "PBS_NODEFILE=/gone: No such file"),
        ({**PBS, "PBS_NODEFILE": "/empty"}, "PBS_NODEFILE=/empty has 0"),
        (
            {**LSF, "LSB_DJOB_NUMPROC": "many"},
            "LSB_DJOB_NUMPROC=many: is no such thing",
        ),
    ],
)
def test_a_size_that_is_not_told_is_refused_with_what_was_looked_at(
    variables: dict[str, str], saw: str
) -> None:
    with pytest.raises(ConfigError) as failure:
        ask(variables, size="auto", name="lab")
    assert saw in failure.value.saw
    assert "--size N" in failure.value.do


def test_another_file_tells_it_where_the_first_cannot_be_read() -> None:
    found = ask({**SGE, "PE_HOSTFILE": "/gone", "NHOSTS": "3"}, size="auto")
    assert found is not None
    assert (found.size, found.source) == (3, "NHOSTS=3 JOB_ID")


def test_a_launcher_that_counts_the_same_number_counts() -> None:
    settings = settle({"size": 4, "name": "lab"}, {})
    known = asked(SLURM, settings)
    assert known is not None
    world = counted(SLURM, settings, known)
    assert world is not None
    assert world.rank == 3


def test_a_launcher_that_counts_another_number_is_an_error() -> None:
    settings = settle({"size": 5, "name": "lab"}, {})
    known = asked(SLURM, settings)
    assert known is not None
    with pytest.raises(ConfigError, match="--size 5, and slurm has started 4 ranks"):
        counted(SLURM, settings, known)


def test_a_launcher_of_one_rank_and_a_job_script_are_parts_of_the_launch() -> None:
    settings = settle({"size": 4, "name": "lab"}, {})
    alone = {**SLURM, "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    alone |= {"SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_TASKS_PER_NODE": "1"}
    for variables in ({**alone, "SLURM_NODEID": "0"}, environ("slurm-batch-of-4")):
        known = asked(variables, settings)
        assert known is not None
        assert counted(variables, settings, known) is None


def test_a_variable_of_another_program_makes_no_batch_system() -> None:
    assert system({"JOB_ID": "7"}) is None


@pytest.mark.parametrize(
    ("variables", "job"),
    [
        (PBS, ("pbs", "12.server")),
        ({"JOB_ID": "7", "SGE_TASK_ID": "undefined"}, ("sge", "7")),
        ({"JOB_ID": "7"}, ("", "")),
        ({}, ("", "")),
    ],
)
def test_a_process_that_nobody_counts_is_of_a_job_all_the_same(
    variables: dict[str, str], job: tuple[str, str]
) -> None:
    assert batch_job(variables) == job
