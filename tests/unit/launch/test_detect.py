"""From environments, captured or documented, to the World; and what is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING

import pytest

from dask_runner.errors import ConfigError, UsageError
from dask_runner.launch.detect import (
    CHOICES,
    LAUNCHERS,
    Launcher,
    detect,
    explain,
    may_be_outlived,
)
from dask_runner.launch.own_variables import OWN_VARIABLES
from dask_runner.launch.world import World
from tests.unit.environs import (
    BATCH,
    ENVIRONS,
    ERRORS,
    FILES,
    HYDRA,
    OPEN_MPI,
    SLURM,
    WORLDS,
    environ,
    stated,
    world,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_environment_says_where_it_comes_from_and_what_is_expected(
    path: Path,
) -> None:
    first, second, *_ = path.read_text(encoding="utf-8").splitlines()
    assert re.match(r"# (captured \d{4}-\d\d-\d\d|documented): ", first)
    assert re.match(r"# (expect|error): ", second)


@pytest.mark.parametrize("name", WORLDS)
def test_an_environment_gives_the_expected_world(name: str) -> None:
    (expected,) = stated(ENVIRONS / f"{name}.env", "expect")
    assert detect(environ(name)) == world(expected)


@pytest.mark.parametrize("name", ERRORS)
def test_an_environment_that_cannot_work_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(ConfigError) as failure:
        detect(environ(name))
    for words in stated(ENVIRONS / f"{name}.env", "error"):
        assert words in str(failure.value)


@pytest.mark.parametrize("name", [row.name for row in LAUNCHERS])
def test_each_launcher_of_the_table_has_an_environment(name: str) -> None:
    assert samples(name)


def samples(name: str) -> list[dict[str, str]]:
    """Return the environments in which this launcher counts, the smallest first."""
    found = [
        environ(one)
        for one in WORLDS
        if (expected := world(stated(ENVIRONS / f"{one}.env", "expect")[0]))
        and expected.launcher == name
    ]
    return sorted(found, key=len)


#: Who is started by whom, innermost first, whatever the table says. Within one of them
#: none starts another, or variables do not tell which came last (see below).
INNERMOST_FIRST = (
    {"local", "hosts"},  # dask-runner -n is started by hand, or in a step of a job
    {"torchrun"},  # one a node, as a task of srun
    {"openmpi", "prterun", "flux", "pals", "hydra", "mvapich"},  # inside of a job
    {"jsm", "slurm"},  # a job's own launcher
    {"pmi"},  # what is left where nobody else has said more
    {"htcondor", "lws", "kubernetes", "aws-batch"},  # the machine itself
)


def test_each_launcher_is_somewhere_between_the_innermost_and_the_machine() -> None:
    names = [name for names in INNERMOST_FIRST for name in names]
    assert sorted(names) == sorted(row.name for row in LAUNCHERS)
    assert all(row.why_here for row in LAUNCHERS)


@pytest.mark.parametrize(
    ("inner", "outer"),
    [
        (inner, outer)
        for place, inners in enumerate(INNERMOST_FIRST)
        for outers in INNERMOST_FIRST[place + 1 :]
        for inner, outer in product(sorted(inners), sorted(outers))
    ],
)
def test_the_inner_of_two_launchers_counts(inner: str, outer: str) -> None:
    # The smallest ones: nothing else is inherited in them.
    alone, around = samples(inner)[0], samples(outer)[0]
    both = detect({**around, **alone})
    # The name of the job may be that of the batch job further out.
    assert replace(both, job_id="") == replace(detect(alone), job_id="")


def test_two_mpiexec_that_disagree_are_refused_with_both_named() -> None:
    with pytest.raises(ConfigError) as failure:
        detect({**HYDRA, **OPEN_MPI})
    text = str(failure.value)
    assert "OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=1" in text
    assert "PMI_RANK=1 PMI_SIZE=2" in text
    assert "--launcher openmpi or --launcher hydra" in text


@pytest.mark.parametrize(("choice", "size"), [("openmpi", 1), ("hydra", 2)])
def test_of_two_mpiexec_the_chosen_one_counts(choice: str, size: int) -> None:
    found = detect({**HYDRA, **OPEN_MPI}, choice)
    assert (found.launcher, found.size) == (choice, size)


def test_mpirun_outside_of_srun_with_pmix_is_not_the_innermost() -> None:
    both = {**OPEN_MPI, **SLURM, "PMIX_NAMESPACE": "slurm.pmix.4711.0"}
    assert detect(both).launcher == "slurm"


def test_mpirun_inside_of_jsrun_is_recognised_by_what_only_mpirun_sets() -> None:
    jsm = environ("jsm-rank3")
    assert detect({**jsm, **OPEN_MPI}).launcher == "openmpi"


def test_nothing_set_is_no_launcher() -> None:
    assert detect({"PATH": "/usr/bin", "HOME": "/home/user"}) is None
    assert explain({}) == [("launcher", "none", "no launcher's variables are set")]


@pytest.mark.parametrize("choice", ["none", "local"])
@pytest.mark.parametrize("around", [SLURM, BATCH, HYDRA, {}])
def test_no_launcher_on_request_ignores_what_is_there(
    choice: str, around: dict[str, str]
) -> None:
    assert detect(around, choice) is None


@pytest.mark.parametrize("choice", ["auto", "none", "local"])
def test_ranks_that_we_started_stay_ranks_whatever_the_choice(choice: str) -> None:
    ours = dict(zip(OWN_VARIABLES, ("1", "2", "x", "/x", "ab"), strict=False))
    found = detect({**SLURM, **ours}, choice)
    assert (found.launcher, found.rank, found.size) == ("local", 1, 2)


def test_a_chosen_launcher_counts_though_another_is_further_in() -> None:
    assert detect({**SLURM, **HYDRA}).launcher == "hydra"
    assert detect({**SLURM, **HYDRA}, "slurm").rank == 3


@pytest.mark.parametrize("row", LAUNCHERS[1:], ids=lambda row: row.name)
def test_a_chosen_launcher_that_is_not_there_names_what_is_missing(
    row: Launcher,
) -> None:
    with pytest.raises(ConfigError) as failure:
        detect({}, row.name)
    text = str(failure.value)
    assert f"--launcher {row.name}" in text
    assert all(name in text for name in row.marks)


def test_an_unknown_launcher_lists_the_known_ones() -> None:
    with pytest.raises(UsageError) as failure:
        detect({}, "srun")
    assert all(choice in str(failure.value) for choice in CHOICES)


@pytest.mark.parametrize("name", WORLDS)
def test_every_field_of_the_world_is_explained(name: str) -> None:
    found = detect(environ(name))
    lines = explain(environ(name))
    if found is None:
        assert len(lines) == 1
        return
    fields = [line for line in lines if line[0] != "inherited"]
    assert [field for field, _, _ in fields] == list(World.__dataclass_fields__)
    for field, value, source in fields:
        known = getattr(found, field) not in (None, "")
        assert value == (str(getattr(found, field)) if known else "unknown")
        assert bool(source) == known


def test_launchers_further_out_are_mentioned_when_they_say_something_else() -> None:
    lines = explain({**SLURM, **HYDRA})
    assert lines[-1] == (
        "inherited",
        "slurm",
        "SLURM_PROCID=3 SLURM_STEP_NUM_TASKS=4",
    )


@pytest.mark.parametrize(
    ("name", "may"),
    [("openmpi", True), ("hydra", True), ("slurm", False), ("local", False)],
)
def test_ranks_of_an_mpiexec_may_outlive_it(name: str, may: object) -> None:
    assert may_be_outlived(name) is may
