"""MPI that would hang, abort or fall apart, and what is said of it."""

import pytest

from dask_runner.errors import ConfigError
from dask_runner.mpi import refusals
from dask_runner.mpi.surroundings import Surroundings

OPENMPI_4, OPENMPI_5 = "Open MPI v4.1.8, package: ...", "Open MPI v5.0.7, package: ..."
MPICH_4, MPICH_5 = "MPICH Version:      4.3.2\nMPICH ...", "MPICH Version:      5.0.2"

BOUND = Surroundings(
    hidden=("/venv/lib/libmpi.so.12",), bound=("/host/lib/libmpi.so.40",)
)
BOTH = {"PMI_RANK": "0", "PMI_SIZE": "4", "PMIX_NAMESPACE": "slurm.pmix.1.0"}
PRIVATE = Surroundings(private=("/tmp", "/dev/shm"))
SERVER = {"PMIX_SERVER_TMPDIR": "/tmp/prte.c1.1000/dvm.1"}

OF_1000 = {"SLURM_STEP_ID": "0", "PMIX_NAMESPACE": "x", "SLURM_JOB_UID": "1000"}

TRAPS = {
    "an MPI that hides the bound one": ({}, BOUND, "", "MPI4PY_LIBMPI=/host/lib"),
    "PMI and PMIx with MPICH 5": (BOTH, Surroundings(), MPICH_5, "-u PMIX_NAMESPACE"),
    "a private /dev/shm": (
        {"SLURM_STEP_TASKS_PER_NODE": "2(x2)"},
        PRIVATE,
        MPICH_4,
        "--bind /dev/shm",
    ),
    "a private /tmp with PMIx": (SERVER, PRIVATE, OPENMPI_5, "--bind /tmp"),
    "a root of its own": (OF_1000, Surroundings(user=0), OPENMPI_5, "--map-user=$(id"),
}


@pytest.mark.parametrize(
    ("environ", "around", "library", "do"), TRAPS.values(), ids=TRAPS
)
def test_what_makes_mpi_hang_is_refused_with_its_way_out(
    environ: dict[str, str], around: Surroundings, library: str, do: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        refusals.before_init(environ, around, library)

    assert do in caught.value.do
    assert caught.value.needed


HARMLESS = {
    "the library is named": ({"MPI4PY_LIBMPI": "/host"}, BOUND, ""),
    "nothing is bound": ({}, Surroundings(hidden=BOUND.hidden), ""),
    "MPICH 4 takes one of both": (BOTH, Surroundings(), MPICH_4),
    "Open MPI takes PMIx": (BOTH, Surroundings(), OPENMPI_5),
    "MPICH 5 with PMI": ({"PMI_RANK": "0"}, Surroundings(), MPICH_5),
    "one task a node": ({"SLURM_STEP_TASKS_PER_NODE": "1(x4)"}, PRIVATE, MPICH_4),
    "the job's user": (OF_1000, Surroundings(user=1000), OPENMPI_5),
    "mpiexec in the container": (
        OF_1000 | {"PRTE_LAUNCHED": "1"},
        Surroundings(user=0),
        OPENMPI_5,
    ),
    "PMIx elsewhere": ({"PMIX_SERVER_TMPDIR": "/var/x"}, PRIVATE, OPENMPI_5),
}


@pytest.mark.parametrize(
    ("environ", "around", "library"), HARMLESS.values(), ids=HARMLESS
)
def test_what_does_no_harm_is_not_refused(
    environ: dict[str, str], around: Surroundings, library: str
) -> None:
    refusals.before_init(environ, around, library)


STEP = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "1"}
PMIX, PMI2 = STEP | {"PMIX_NAMESPACE": "x"}, STEP | {"PMI_FD": "12", "PMI_JOBID": "3"}
PRTE = {"PRTE_LAUNCHED": "1", "OMPI_COMM_WORLD_SIZE": "4", "PMIX_NAMESPACE": "x"}
HYDRA = {"MPI_LOCALRANKID": "0", "PMI_FD": "8", "PMI_RANK": "0"}

CAUSES = {
    "no wire-up, Open MPI": (STEP, OPENMPI_5, "no wire-up", "srun --mpi=pmix"),
    "no wire-up, MPICH": (STEP, MPICH_4, "no wire-up", "srun --mpi=pmi2"),
    "PMI-2, Open MPI": (PMI2, OPENMPI_5, "knows no PMI-2", "srun --mpi=pmix"),
    "PMIx, MPICH": (PMIX, MPICH_4, "built without PMIx", "srun --mpi=pmi2"),
    "mpirun, MPICH": (PRTE, MPICH_4, "mpirun is Open MPI's", "mpiexec of MPICH"),
    "mpirun 5, Open MPI 4": (PRTE, OPENMPI_4, "Open MPI 4", "mpiexec of Open MPI 4"),
    "mpiexec, Open MPI": (HYDRA, OPENMPI_5, "mpiexec is Hydra", "mpiexec of Open MPI"),
    "mpiexec in a step": (
        STEP | HYDRA,
        OPENMPI_5,
        "mpiexec is Hydra",
        "mpiexec of Open MPI",
    ),
    "Cray's PMI, MPICH": (
        STEP | {"PMI_CONTROL_PORT": "20001", "PMI_RANK": "1"},
        MPICH_4,
        "Cray's own PMI",
        "cray-mpich-abi",
    ),
    "unknown": ({}, MPICH_4, "world of 1: MPICH Version:", "this library"),
    "a launcher that fits": (HYDRA, MPICH_4, "1: MPICH Version:", "this library"),
    "Flux": ({"PMI_FD": "12"}, OPENMPI_5, "world of 1: Open MPI v5", "this library"),
}


@pytest.mark.parametrize(
    ("environ", "library", "cause", "do"), CAUSES.values(), ids=CAUSES
)
def test_a_world_of_one_is_refused_and_its_cause_is_named(
    environ: dict[str, str], library: str, cause: str, do: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        refusals.other_world(environ, 4, 1, library)

    assert "4 ranks, but MPI sees a world of 1" in caught.value.saw
    assert cause in caught.value.saw
    assert do in caught.value.do


@pytest.mark.parametrize(
    ("environ", "library"),
    [(PRTE, MPICH_4), (PRTE, OPENMPI_4), (HYDRA, OPENMPI_5), (STEP | HYDRA, OPENMPI_5)],
)
def test_a_library_that_an_mpiexec_cannot_start_is_refused_before_mpi_init(
    environ: dict[str, str], library: str
) -> None:
    with pytest.raises(ConfigError) as before:
        refusals.other_library(environ, library)
    with pytest.raises(ConfigError) as after:
        refusals.other_world(environ, 4, 1, library)

    # One cause has one text.
    assert after.value.saw.endswith(f"world of 1: {before.value.saw}")


@pytest.mark.parametrize(
    ("environ", "library"),
    [
        (PRTE, OPENMPI_5),
        ({"OMPI_COMM_WORLD_SIZE": "4"}, OPENMPI_4),
        ({"OMPI_COMM_WORLD_SIZE": "4"}, OPENMPI_5),
        (HYDRA, MPICH_4),
        # Its ranks come to MPI_Init, and then compare their worlds.
        (PMI2, OPENMPI_5),
        ({}, OPENMPI_5),
        (HYDRA, "A library of nobody, 1.0"),
    ],
)
def test_any_other_library_may_try_mpi_init(
    environ: dict[str, str], library: str
) -> None:
    refusals.other_library(environ, library)


def test_a_world_of_all_ranks_is_right() -> None:
    refusals.other_world(STEP, 4, 4, OPENMPI_5)
