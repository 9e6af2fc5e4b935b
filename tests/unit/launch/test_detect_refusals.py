"""Variables of a launcher that cannot be, and which rank says so."""

from __future__ import annotations

import pytest

from dask_runner.errors import ConfigError
from dask_runner.launch.detect import detect, prints_shared_errors
from tests.unit.environs import BATCH, HYDRA, SLURM


@pytest.mark.parametrize(
    "value",
    [
        "",
        "x",
        "-1",
        "+1",
        "1.5",
        " 1",
        "1_0",
        "0x1",
        "\N{ARABIC-INDIC DIGIT ONE}",
        str(10**9),
    ],
)
@pytest.mark.parametrize(
    "name",
    ["SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", "SLURM_NODEID"],
)
def test_a_variable_that_is_no_sensible_number_is_named_with_its_value(
    name: str, value: str
) -> None:
    with pytest.raises(ConfigError) as failure:
        detect({**SLURM, name: value})
    assert f"{name} is {value!r}" in str(failure.value) or (
        f"{name} is empty" in str(failure.value) and not value
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"SLURM_PROCID": "7"}, "SLURM_PROCID=7 SLURM_STEP_NUM_TASKS=4"),
        ({"SLURM_STEP_NUM_TASKS": "0"}, "SLURM_STEP_NUM_TASKS is '0'"),
        ({"SLURM_LOCALID": "2"}, "SLURM_LOCALID=2"),
        ({"SLURM_STEP_TASKS_PER_NODE": "2(x"}, "SLURM_STEP_TASKS_PER_NODE is '2(x'"),
        ({"SLURM_STEP_TASKS_PER_NODE": ""}, "SLURM_STEP_TASKS_PER_NODE is ''"),
        ({"SLURM_JOB_ID": ""}, "SLURM_JOB_ID is not set or empty"),
    ],
)
def test_variables_that_contradict_each_other_are_refused(
    changes: dict[str, str], words: str
) -> None:
    with pytest.raises(ConfigError) as failure:
        detect({**SLURM, **changes})
    assert words in str(failure.value)


def test_a_step_without_a_size_names_the_variables_that_would_tell() -> None:
    without = {k: v for k, v in SLURM.items() if k != "SLURM_STEP_NUM_TASKS"}
    with pytest.raises(ConfigError, match="SLURM_STEP_NUM_TASKS and SLURM_NTASKS are"):
        detect(without)


@pytest.mark.parametrize(
    ("variables", "choice", "expected"),
    [
        ({}, "auto", True),
        (BATCH, "auto", True),
        (SLURM, "auto", False),
        ({**SLURM, "SLURM_PROCID": "0"}, "auto", True),
        # Wrong for this rank alone.
        ({**SLURM, "SLURM_PROCID": "7"}, "auto", True),
        ({**SLURM, "SLURM_PROCID": "x"}, "auto", True),
        ({**SLURM, "SLURM_LOCALID": "x"}, "auto", True),
        # Wrong for all of them alike.
        ({**SLURM, "SLURM_STEP_NUM_TASKS": "0"}, "auto", False),
        ({**SLURM, "SLURM_STEP_NUM_TASKS": "0", "SLURM_PROCID": "0"}, "auto", True),
        (SLURM, "openmpi", False),
        (SLURM, "no such launcher", False),
        ({**SLURM, **HYDRA}, "slurm", False),
        (SLURM, "none", True),
        ({"DASKRUNNER_RANK": "1", "DASKRUNNER_SIZE": "2"}, "none", False),
    ],
)
def test_an_error_that_all_see_is_printed_by_one(
    variables: dict[str, str], choice: str, expected: bool
) -> None:
    assert prints_shared_errors(variables, choice) is expected
