"""Where the values of a template's variables come from."""

from __future__ import annotations

from typing import Any

import pytest

from dask_runner.batch.options import OPTIONS
from dask_runner.batch.systems import BY_NAME, SYSTEMS, System
from dask_runner.batch.variables import MADE_OF, find, refuse_unused, values
from dask_runner.errors import ConfigError, UsageError

SLURM, HTCONDOR, KUBERNETES = map(BY_NAME.get, ("slurm", "htcondor", "kubernetes"))


def found(
    system: System | None = SLURM,
    given: dict[str, Any] | None = None,
    site: dict[str, Any] | None = None,
    environ: dict[str, str] | None = None,
    extra: tuple[str, ...] = (),
) -> dict[str, Any]:
    assert system
    settings = find(system, given or {}, extra, site or {}, environ or {})
    return {name: setting.value for name, setting in settings.items()}


def test_the_command_line_counts_before_the_system_and_this_before_all() -> None:
    site = {"partition": "all", "slurm": {"partition": "own"}, "account": "geo"}

    assert found(site=site)["partition"] == "own"
    assert found(KUBERNETES, site=site)["partition"] == "all"
    assert found(given={"partition": "mine"}, site=site)["partition"] == "mine"
    assert found(given={"partition": None, "prologue": ()}, site=site)["account"] == (
        "geo"
    )


def test_a_site_may_write_dashes_or_underscores_and_variables_of_its_own() -> None:
    site = {
        "cpus-per-task": 8,
        "job_name": "lab",
        "time": 3600,
        "prologue": ["module load apptainer", "ulimit -n 4096"],
        "slurm": {"reservation-name": "x", "ports": [1, 2], "mem": None},
        "pbs": {"partition": "other"},
    }

    made = found(site=site)

    assert made["cpus_per_task"] == 8
    assert made["job_name"] == "lab"
    assert made["time"] == 3600
    assert made["prologue"] == ["module load apptainer", "ulimit -n 4096"]
    assert (made["reservation_name"], made["ports"]) == ("x", ["1", "2"])
    assert {"partition", "mem"}.isdisjoint(made)


def test_the_image_is_the_one_in_which_the_command_runs() -> None:
    inside = {"APPTAINER_CONTAINER": "/apps/x.sif"}

    assert found(environ=inside)["image"] == "/apps/x.sif"
    assert found(environ={"SINGULARITY_CONTAINER": "/y.sif"})["image"] == "/y.sif"
    assert found(environ=inside, site={"image": "/z.sif"})["image"] == "/z.sif"
    assert "image" not in found(environ={"APPTAINER_CONTAINER": ""})
    # A registry has no file of this machine.
    assert "image" not in found(KUBERNETES, environ=inside)


@pytest.mark.parametrize(
    ("site", "told"),
    [
        ({"slrum": {"partition": "x"}}, "runner.job.slrum"),
        ({"slurm": "batch"}, r"runner\.job\.slurm = 'batch'"),
        ({"slurm": {"nodes": 0}}, r"runner\.job\.slurm\.nodes = 0"),
        ({"partition": "a b"}, r"runner\.job\.partition = 'a b'"),
        ({"slurm": {"a b": 1}}, r"runner\.job\.slurm\.a b"),
        ({"slurm": {"command": "rm"}}, r"runner\.job\.slurm\.command"),
        ({"slurm": {"x": {"y": 1}}}, r"runner\.job\.slurm\.x"),
        ({"container": "a 'b"}, r"runner\.job\.container"),
        ({"container": []}, r"runner\.job\.container"),
        ({"image": ""}, r"runner\.job\.image"),
    ],
)
def test_what_is_wrong_in_the_configuration_names_its_place(
    site: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        found(site=site)

    assert caught.value.needed
    assert caught.value.do


@pytest.mark.parametrize(
    "given",
    [
        {"nodes": "0"},
        {"nodes": "9" * 5000},
        {"time": "30"},
        {"mem": "4"},
        {"job_name": "a\nb"},
        {"partition": "x y"},
        {"output": "'o'"},
        {"container": '"'},
    ],
)
def test_what_is_wrong_on_the_command_line_is_a_mistake_of_usage(
    given: dict[str, str],
) -> None:
    with pytest.raises(UsageError, match=f"--{next(iter(given)).replace('_', '-')}"):
        found(given=given)


@pytest.mark.parametrize("text", ["claim", "=x", "a b=c", "nodes=3", "Command=x", ""])
def test_other_variables_need_a_name_of_their_own(text: str) -> None:
    with pytest.raises(UsageError, match="--set"):
        found(extra=(text,))


def test_other_variables_may_have_any_value() -> None:
    assert found(extra=("claim=a=b\n",))["claim"] == "a=b\n"


def test_some_variables_are_made_of_others() -> None:
    given = {"nodes": "3", "ntasks_per_node": "2", "cpus_per_task": "4", "mem": "8GiB"}
    settings = find(
        BY_NAME["sge"], given | {"image": "x.sif"}, (), {}, {"APPTAINER_CONTAINER": "y"}
    )

    made = values(settings, ["serve"], no_image=False)

    assert made["command"] == ["apptainer", "run", "x.sif", "serve"]
    assert (made["ntasks"], made["cpus_per_node"], made["slots"]) == (6, 8, 24)
    assert made["mem_per_slot"] == 1 << 30
    assert made.keys() >= MADE_OF.keys()
    alone = values(settings, ["serve"], no_image=True)
    assert alone["command"] == ["dask-runner", "serve"]
    assert "image" not in alone


def test_htcondor_starts_programs_by_their_paths() -> None:
    assert found(HTCONDOR)["container"] == ["/usr/bin/apptainer", "run"]


def test_what_the_template_does_not_use_is_refused_where_it_was_given() -> None:
    system = BY_NAME["oar"]
    site = {"mem": "8GiB"}

    refuse_unused(system, find(system, {}, (), site, {}), {"nodes"})
    with pytest.raises(UsageError, match="--mem: the template of OAR"):
        refuse_unused(system, find(system, {"mem": "8GiB"}, (), {}, {}), {"nodes"})
    with pytest.raises(UsageError, match="--set typo"):
        refuse_unused(system, find(system, {}, ("typo=1",), {}, {}), {"nodes"})


def test_options_that_a_variable_is_made_of_are_used_with_it() -> None:
    system = BY_NAME["slurm"]
    given = {"image": "x", "container": "singularity run", "templates": "/x"}

    refuse_unused(system, find(system, given, (), {}, {}), {"command"})


def test_the_names_are_told_apart() -> None:
    keys = {option.key for option in OPTIONS}
    systems = {system.name.replace("-", "_") for system in SYSTEMS}

    assert not keys & systems
    assert not keys & MADE_OF.keys()
    assert {part for parts in MADE_OF.values() for part in parts} <= keys
    assert len({option.short for option in OPTIONS if option.short}) == sum(
        bool(option.short) for option in OPTIONS
    )
