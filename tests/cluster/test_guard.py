"""What makes each task a world of its own, or MPI hang, ends with its cause named."""

from tests.cluster.jobs import SIF, Jobs, told

RUNNER = """\
from dask_runner import MPIRunner
with MPIRunner() as runner:
    print("never")
"""


def test_a_task_without_its_environment_is_no_cluster_of_its_own(jobs: Jobs) -> None:
    done = jobs.start(
        *("srun", "-n2", "apptainer", "run", "--cleanenv", SIF, "-c", "print('never')")
    ).wait()

    assert done.returncode == 78, told(done)
    assert "never" not in done.stdout
    assert "srun started this, but none of its variables are here" in done.stderr
    assert "leave out --cleanenv" in done.stderr


def test_a_dev_shm_of_each_container_is_refused_before_mpi_hangs(jobs: Jobs) -> None:
    script = jobs.write("script.py", RUNNER)
    contain = ("--contain", "--bind", jobs.directory)

    done = jobs.start(
        *("srun", "-N1", "-n2", "--mpi=pmix", "apptainer", "exec", *contain, SIF),
        *("python", script),
    ).wait()

    assert done.returncode == 78, told(done)
    assert "each container has a /dev/shm of its own" in done.stderr
    assert "--bind /dev/shm" in done.stderr
