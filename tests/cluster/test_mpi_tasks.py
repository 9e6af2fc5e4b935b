"""MPI in Dask's tasks over two nodes: each rank's worker is the launcher's task."""

import pytest

from ci.abi.cells import TASKS
from tests.cluster.jobs import SIF, SINGLETONS, Jobs, told

# Each starts its daemon on the other node by srun, which nodes without ssh need;
# Hydra finds out by itself as well, and may be told.
HYDRA = ("mpiexec.mpich", "-n", "4")
HYDRA_BY_SRUN = ("mpiexec.mpich", "-bootstrap", "slurm", "-n", "4")
PRRTE = ("mpiexec.openmpi", "-n", "4")
PRRTE_BY_SRUN = ("mpiexec.openmpi", "--prtemca", "plm", "slurm", "-n", "4")

# What Open MPI says itself of a launcher without PMIx, in a rank and in its worker.
OPENMPI = r"(\[\d\] )?((No PMIx server was reachable|If srun is being used).*|\s*)"


def test_tasks_of_all_ranks_on_two_nodes_are_one_world(jobs: Jobs) -> None:
    jobs.write("tasks.py", TASKS.text)

    done = jobs.srun("-N2 -n4 --mpi=pmix", "--mpi-tasks", "tasks.py").wait()

    assert (done.returncode, done.stdout) == (0, "sums [6, 6, 6, 6]\n"), told(done)


@pytest.mark.parametrize(
    ("family", "launcher"),
    [
        ("openmpi", PRRTE),
        ("openmpi", PRRTE_BY_SRUN),
        ("mpich", HYDRA),
        ("mpich", HYDRA_BY_SRUN),
    ],
    ids=lambda words: words if isinstance(words, str) else " ".join(words[:-2]),
)
def test_so_they_are_under_an_mpiexec_that_starts_ranks_by_srun(
    jobs: Jobs, request: pytest.FixtureRequest, family: str, launcher: tuple[str, ...]
) -> None:
    image = SIF if family == "openmpi" else request.getfixturevalue("other_image")
    jobs.write("tasks.py", TASKS.text)
    program = ("apptainer", "run", image, "--mpi-tasks", "tasks.py")

    done = jobs.start(
        "salloc", "--quiet", "-N2", "--ntasks-per-node=2", *launcher, *program
    ).wait()

    assert (done.returncode, done.stdout) == (0, "sums [6, 6, 6, 6]\n"), told(done)
    assert "4 workers" in done.stderr, told(done)
    assert "on 2 nodes" in done.stderr, told(done)


def test_mpiexec_of_the_other_family_is_refused_before_the_script_begins(
    jobs: Jobs,
) -> None:
    jobs.write("tasks.py", TASKS.text)
    program = ("apptainer", "run", SIF, "--mpi-tasks", "tasks.py")

    done = jobs.start(
        "salloc", "--quiet", "-N2", "--ntasks-per-node=2", *HYDRA, *program
    ).wait(stray=OPENMPI, leaves=SINGLETONS)

    assert (done.returncode, done.stdout) == (78, ""), told(done)
    assert "MPI sees a world of 1" in done.stderr, told(done)
    assert "mpiexec is Hydra" in done.stderr, told(done)


def test_without_a_wire_up_they_are_refused_before_the_script_begins(
    jobs: Jobs,
) -> None:
    jobs.write("tasks.py", TASKS.text)

    done = jobs.srun("-N2 -n4 --mpi=none", "--mpi-tasks", "tasks.py").wait(
        leaves=SINGLETONS
    )

    assert (done.returncode, done.stdout) == (78, ""), told(done)
    assert "MPI sees a world of 1" in done.stderr, told(done)
    assert "srun --mpi=pmix" in done.stderr, told(done)
