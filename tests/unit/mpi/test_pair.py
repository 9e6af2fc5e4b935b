"""What variables and a library's own name tell of a launcher and its MPI."""

from pathlib import Path

import pytest

from dask_runner.mpi import image, pair
from dask_runner.mpi.abi.findings import Way
from dask_runner.mpi.abi.vendors import MPICH, OPENMPI
from tests.unit.environs import environ

WAYS = {
    "openmpi4-rank0": Way("mpirun", "orte"),
    "openmpi5-rank0": Way("mpirun", "prte", "5.0.11"),
    "prterun-rank2": Way("mpirun", "prte"),
    "openmpi-in-srun-rank1": Way("mpirun", "prte", "5.0.7"),
    "mpich-rank0": Way("mpiexec", "hydra"),
    "mpich-in-srun-rank1": Way("mpiexec", "hydra"),
    "impi-rank0": Way("mpiexec", "intel"),
    "slurm-none-rank0": Way("srun", "srun-none"),
    "slurm-pmi2-rank0": Way("srun --mpi=pmi2", "srun-pmi2"),
    "slurm-pmix-rank0": Way("srun --mpi=pmix", "srun-pmix", "5.0.7a1"),
    "slurm-cray-shasta-rank3": Way("srun --mpi=cray_shasta", "srun-cray"),
    "flux-rank3": None,
    "pals-rank5": None,
    "torchrun-rank5": None,
}


@pytest.mark.parametrize(("name", "way"), WAYS.items(), ids=WAYS)
def test_a_launcher_is_known_by_the_variables_that_were_seen(
    name: str, way: Way | None
) -> None:
    assert pair.way(environ(name)) == way


# As MPI_Get_library_version gave them; those of Cray and MVAPICH as documented.
TITLES = {
    "Open MPI v5.0.7, package: Debian OpenMPI\0": (OPENMPI, "Open MPI", "5.0.7"),
    "Open MPI v4.1.8rc1, package: x": (OPENMPI, "Open MPI", "4.1.8rc1"),
    "MPICH Version:      4.3.2\nMPICH Release date: x": (MPICH, "MPICH", "4.3.2"),
    "Intel(R) MPI Library 2021.18 for Linux* OS\n": (MPICH, "Intel MPI", "2021.18"),
    "MPI VERSION    : CRAY MPICH version 8.1.28.2 (ANL base 3.4a2)\n": (
        MPICH,
        "Cray MPICH",
        "8.1.28.2",
    ),
    "MVAPICH2 Version      :\t2.3.7\n": (MPICH, "MVAPICH", "2.3.7"),
    "MVAPICH Version      :\t4.0\n": (MPICH, "MVAPICH", "4.0"),
    "MPICH (/host/lib/libmpi.so.12)": (MPICH, "MPICH", ""),
    "Open MPI (/host/lib/libmpi.so.40)": (OPENMPI, "Open MPI", ""),
}


@pytest.mark.parametrize(("title", "told"), TITLES.items(), ids=TITLES)
def test_a_library_is_known_by_what_it_calls_itself(
    title: str, told: tuple[str, str, str]
) -> None:
    found = pair.library(title)

    assert found
    assert (found.family, found.vendor, found.version) == told
    assert found.pmi


@pytest.mark.parametrize("title", ["", "of nobody", "An MPICH by its third word"])
def test_an_unknown_library_is_none(title: str) -> None:
    assert pair.library(title) is None


@pytest.mark.parametrize(
    "vendor", ["Open MPI", "MPICH", "Intel MPI", "Cray MPICH", "MVAPICH"]
)
def test_what_an_image_says_of_its_mpi_is_understood(
    vendor: str, tmp_path: Path
) -> None:
    file = tmp_path / "abi.json"
    file.write_text(f'{{"mpi": {{"vendor": "{vendor}", "version": "4.2.1"}}}}')

    found = pair.library(image.library({}, file))

    assert found
    assert (found.vendor, found.version) == (vendor, "4.2.1")
