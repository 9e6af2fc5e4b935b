"""What is refused at the start, from an environment and what is around it."""

import os
from pathlib import Path

import pytest

from dask_runner.errors import ConfigError
from dask_runner.mpi.refusals import (
    HINT,
    refuse_before_mpi,
    refuse_lost_launcher,
    refuse_two_families,
    refuse_world,
)
from dask_runner.mpi.surroundings import Surroundings, look

IN_APPTAINER = {"APPTAINER_CONTAINER": "/images/x.sif"}
STARTER = "Apptainer runtime parent: x.sif"

OPENMPI_4, OPENMPI_5 = "Open MPI v4.1.8, package: ...", "Open MPI v5.0.7, package: ..."
MPICH_4, MPICH_5 = "MPICH Version:      4.3.2\nMPICH ...", "MPICH Version:      5.0.2"

# As they were seen from inside a container on a node.
TASKS = {
    "srun": "slurmstepd: [34.0]",
    "mpiexec of MPICH or Intel MPI": "/usr/bin/hydra_pmi_proxy --control-port c1:4256",
    "mpirun of Open MPI 5": "prterun -n 4 apptainer exec -e x.sif python",
    "mpirun of Open MPI 4": "orted -mca ess env",
}


@pytest.mark.parametrize(("name", "words"), TASKS.items(), ids=TASKS)
def test_a_task_whose_environment_was_emptied_is_refused(name: str, words: str) -> None:
    around = Surroundings((STARTER, "bash job.sh", words, "/sbin/init"))

    with pytest.raises(ConfigError, match="--cleanenv") as caught:
        refuse_lost_launcher(IN_APPTAINER, around)

    assert caught.value.saw.startswith(f"{name} started this")
    assert caught.value.status == 78


FREE = {
    "a shell": (IN_APPTAINER, Surroundings((STARTER, "-bash", "sshd: user@pts/0"))),
    "a batch script": (IN_APPTAINER, Surroundings((STARTER, "slurmstepd: [34.batch]"))),
    "no container": ({}, Surroundings(("slurmstepd: [34.0]",))),
    "somebody at a terminal": (
        IN_APPTAINER,
        Surroundings((STARTER, "slurmstepd: [34.0]"), terminal=True),
    ),
    "processes that cannot be seen": (IN_APPTAINER, Surroundings(("appinit",))),
    "one task": (IN_APPTAINER | {HINT: "1"}, Surroundings()),
}


@pytest.mark.parametrize(("environ", "around"), FREE.values(), ids=FREE)
def test_who_is_no_task_is_left_alone(
    environ: dict[str, str], around: Surroundings
) -> None:
    refuse_lost_launcher(environ, around)


def test_a_hint_from_outside_tells_where_nothing_can_be_seen() -> None:
    with pytest.raises(ConfigError, match=f"{HINT}=4"):
        refuse_lost_launcher({HINT: "4"}, Surroundings(("appinit",)))


BOUND = Surroundings(
    hidden=("/venv/lib/libmpi.so.12",), bound=("/host/lib/libmpi.so.40",)
)
BOTH = {"PMI_RANK": "0", "PMI_SIZE": "4", "PMIX_NAMESPACE": "slurm.pmix.1.0"}
PRIVATE = Surroundings(private=("/tmp", "/dev/shm"))
SERVER = {"PMIX_SERVER_TMPDIR": "/tmp/prte.c1.1000/dvm.1"}

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
}


@pytest.mark.parametrize(
    ("environ", "around", "library", "do"), TRAPS.values(), ids=TRAPS
)
def test_what_makes_mpi_hang_is_refused_with_its_way_out(
    environ: dict[str, str], around: Surroundings, library: str, do: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        refuse_before_mpi(environ, around, library)

    assert do in caught.value.do
    assert caught.value.needed


HARMLESS = {
    "the library is named": ({"MPI4PY_LIBMPI": "/host"}, BOUND, ""),
    "nothing is bound": ({}, Surroundings(hidden=BOUND.hidden), ""),
    "MPICH 4 takes one of both": (BOTH, Surroundings(), MPICH_4),
    "Open MPI takes PMIx": (BOTH, Surroundings(), OPENMPI_5),
    "MPICH 5 with PMI": ({"PMI_RANK": "0"}, Surroundings(), MPICH_5),
    "one task a node": ({"SLURM_STEP_TASKS_PER_NODE": "1(x4)"}, PRIVATE, MPICH_4),
    "PMIx elsewhere": ({"PMIX_SERVER_TMPDIR": "/var/x"}, PRIVATE, OPENMPI_5),
}


@pytest.mark.parametrize(
    ("environ", "around", "library"), HARMLESS.values(), ids=HARMLESS
)
def test_what_does_no_harm_is_not_refused(
    environ: dict[str, str], around: Surroundings, library: str
) -> None:
    refuse_before_mpi(environ, around, library)


STEP = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "1"}
PMIX, PMI2 = STEP | {"PMIX_NAMESPACE": "x"}, STEP | {"PMI_FD": "12", "PMI_JOBID": "3"}
PRTE = {"PRTE_LAUNCHED": "1", "OMPI_COMM_WORLD_SIZE": "4", "PMIX_NAMESPACE": "x"}
HYDRA = {"MPI_LOCALRANKID": "0", "PMI_FD": "8", "PMI_RANK": "0"}

CAUSES = {
    "no wire-up, Open MPI": (STEP, OPENMPI_5, "no wire-up", "srun --mpi=pmix"),
    "no wire-up, MPICH": (STEP, MPICH_4, "no wire-up", "srun --mpi=pmi2"),
    "PMI-2, Open MPI": (PMI2, OPENMPI_5, "srun speaks pmi2", "srun --mpi=pmix"),
    "PMIx, MPICH": (PMIX, MPICH_4, "srun speaks pmix", "srun --mpi=pmi2"),
    "mpirun, MPICH": (PRTE, MPICH_4, "mpirun is Open MPI's", "mpiexec of MPICH"),
    "mpirun 5, Open MPI 4": (PRTE, OPENMPI_4, "Open MPI 4", "mpirun of Open MPI 4"),
    "mpiexec, Open MPI": (HYDRA, OPENMPI_5, "mpiexec is MPICH's", "mpirun of Open MPI"),
    "mpiexec in a step": (
        STEP | HYDRA,
        OPENMPI_5,
        "mpiexec is MPICH's",
        "mpirun of Open MPI",
    ),
    "unknown": ({}, MPICH_4, "world of 1 (MPICH Version:", "family mpich"),
}


@pytest.mark.parametrize(
    ("environ", "library", "cause", "do"), CAUSES.values(), ids=CAUSES
)
def test_a_world_of_one_is_refused_and_its_cause_is_named(
    environ: dict[str, str], library: str, cause: str, do: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        refuse_world(environ, 4, 1, library)

    assert "4 ranks, but MPI sees a world of 1" in caught.value.saw
    assert cause in caught.value.saw
    assert do in caught.value.do


def test_a_world_of_all_ranks_is_right() -> None:
    refuse_world(STEP, 4, 4, OPENMPI_5)


def test_two_families_in_one_job_are_refused_by_rank() -> None:
    with pytest.raises(ConfigError) as caught:
        refuse_two_families(dict.fromkeys(range(6), OPENMPI_5) | {6: MPICH_4})

    assert "openmpi in rank 0, 1, 2, 3 …; mpich in rank 6" in caught.value.saw
    assert "4.3.2" in caught.value.do
    refuse_two_families({0: OPENMPI_4, 1: OPENMPI_5})


# mountinfo of a container as it was seen, with and without --contain.
SHARED = """\
1 0 0:58 / / rw - overlay overlay ro
2 1 0:61 / /dev rw - tmpfs tmpfs rw,size=65536k,mode=755
3 2 0:62 / /dev/shm rw - tmpfs shm rw,size=4194304k
4 1 0:50 /tmp /tmp rw - overlay overlay rw
"""
CONTAINED = """\
1 0 0:58 / / rw - overlay overlay ro
2 1 0:61 /dev /dev rw - tmpfs tmpfs rw,size=65536k,uid=1000,gid=1000
3 2 0:62 / /dev/shm rw - tmpfs tmpfs rw,uid=1000,gid=1000
4 1 0:61 /tmp /tmp rw - tmpfs tmpfs rw,size=65536k,uid=1000,gid=1000
"""


@pytest.mark.parametrize(
    ("mounts", "private"), [(SHARED, ()), (CONTAINED, ("/tmp", "/dev/shm"))]
)
def test_directories_of_the_container_are_told_from_the_hosts(
    tmp_path: Path, mounts: str, private: tuple[str, ...]
) -> None:
    parent = tmp_path / str(os.getppid())
    parent.mkdir()
    (parent / "stat").write_text(f"{os.getppid()} (odd ) name) S 0 1 1")
    (parent / "cmdline").write_bytes(b"slurmstepd: [3.0]\0\0")
    (tmp_path / "self").mkdir()
    (tmp_path / "self/mountinfo").write_text(mounts)
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/libmpi.so.12").touch()

    around = look({"LD_LIBRARY_PATH": f":{tmp_path}/lib"}, tmp_path)

    assert around.private == private
    assert around.ancestors == ("slurmstepd: [3.0]",)
    assert around.bound == (f"{tmp_path}/lib/libmpi.so.12",)


def test_the_surroundings_of_this_process_can_be_read() -> None:
    around = look({})

    assert around.ancestors
    assert around.bound == ()
