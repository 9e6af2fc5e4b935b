"""When a job ends, by what each batch system tells."""

from __future__ import annotations

import pytest

from dask_runner.launch.walltime import TABLE, end_time, job_end
from tests.unit.environs import environ

OAR = {
    "OAR_JOB_ID": "7",
    "OAR_JOB_WALLTIME_SECONDS": "7200",
    "OAR_NODEFILE": "/var/lib/oar/7",
}
TORQUE = {
    "PBS_JOBID": "7.server",
    "PBS_WALLTIME": "3600",
    "PBS_NODEFILE": "/var/spool/torque/aux/7.server",
}
#: The times of files that are seen.
FILES = {"/var/lib/oar/7": 1000.5, "/var/spool/torque/aux/7.server": 2000.0}


@pytest.mark.parametrize(
    ("variables", "end", "source"),
    [
        ({"SLURM_JOB_END_TIME": "1826761422"}, 1826761422, "SLURM_JOB_END_TIME="),
        (TORQUE, 5600, "PBS_WALLTIME=3600 from the time of PBS_NODEFILE"),
        (OAR, 8200.5, "OAR_JOB_WALLTIME_SECONDS=7200 from the time of OAR_NODEFILE"),
        ({"DASKRUNNER_JOB_END_TIME": "99"}, 99, "DASKRUNNER_JOB_END_TIME=99"),
    ],
)
def test_a_system_that_tells_is_believed(
    variables: dict[str, str], end: float, source: str
) -> None:
    found = job_end(variables, FILES.get)
    assert found.value == end
    assert found.source.startswith(source)


@pytest.mark.parametrize("variables", [TORQUE, OAR])
def test_the_length_of_a_job_is_not_enough_where_nothing_tells_its_beginning(
    variables: dict[str, str],
) -> None:
    assert job_end(variables, {}.get).value is None
    ours = {**variables, "DASKRUNNER_JOB_END_TIME": "99"}
    assert job_end(ours, {}.get).value == 99


def test_what_a_batch_system_sets_counts_before_what_a_job_may_have_inherited() -> None:
    both = {"DASKRUNNER_JOB_END_TIME": "99", "SLURM_JOB_END_TIME": "1826761422"}
    assert end_time(both) == 1826761422


@pytest.mark.parametrize("wrong", ["", "soon", "-1", "0", "1e9", "9" * 19, "9" * 5000])
@pytest.mark.parametrize("name", sorted({row.end or row.length for row in TABLE}))
def test_a_wrong_value_tells_nothing(name: str, wrong: str) -> None:
    files = {"PBS_NODEFILE": "/seen", "OAR_NODEFILE": "/seen"}
    assert job_end({name: wrong, **files}, {"/seen": 1.0}.get).value is None


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"PBS_JOBID": "7.server", "PBS_NODEFILE": "/var/spool/pbs/aux/7.server"},
        {"LSB_JOBID": "7", "LSB_QUEUE": "normal"},
        {"JOB_ID": "7", "PE_HOSTFILE": "/x"},
    ],
    ids=["none", "pbspro", "lsf", "sge"],
)
def test_the_systems_that_do_not_tell_are_not_guessed_at(
    variables: dict[str, str],
) -> None:
    assert end_time(variables) is None


def test_a_file_that_is_not_there_tells_nothing() -> None:
    assert end_time({**OAR, "OAR_NODEFILE": "/no/such/file"}) is None
    assert end_time({**OAR, "OAR_NODEFILE": "\0"}) is None


def test_a_captured_step_of_a_slurm_job_without_a_time_limit_has_no_end() -> None:
    found = job_end(environ("slurm-none-rank0"))
    assert found.value is None
    assert found.source == "SLURM_JOB_END_TIME is 365 days after SLURM_JOB_START_TIME"


@pytest.mark.parametrize("start", ["", "1826760000", "1795225421"])
def test_a_slurm_job_of_another_length_ends(start: str) -> None:
    told = {"SLURM_JOB_END_TIME": "1826761422", "SLURM_JOB_START_TIME": start}
    assert end_time(told) == 1826761422
