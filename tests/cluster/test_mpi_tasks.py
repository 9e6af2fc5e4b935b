"""MPI in Dask's tasks, under srun: each rank's worker is srun's task to MPI."""

from ci.abi_cells import TASKS
from tests.cluster.jobs import SINGLETONS, Jobs, told


def test_tasks_of_all_ranks_on_two_nodes_are_one_world(jobs: Jobs) -> None:
    jobs.write("tasks.py", TASKS.text)

    done = jobs.srun("-N2 -n4 --mpi=pmix", "--mpi-tasks", "tasks.py").wait()

    assert (done.returncode, done.stdout) == (0, "sums [6, 6, 6, 6]\n"), told(done)


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
