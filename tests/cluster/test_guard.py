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


FAMILIES = "one job has MPIs of two families: openmpi in rank 0; mpich in rank 1"


def test_two_images_of_two_families_in_one_srun_are_told_by_rank(
    jobs: Jobs, other_image: str
) -> None:
    jobs.write("script.py", "print('never')")
    jobs.write(
        "images.conf",
        f"0 apptainer run {SIF} script.py\n1 apptainer run {other_image} script.py\n",
    )

    done = jobs.start("srun", "-N2", "-n2", "--multi-prog", "images.conf").wait()

    assert (done.returncode, done.stdout) == (78, ""), told(done)
    assert FAMILIES in done.stderr
    assert "you can: look for what differs on these ranks' nodes" in done.stderr
    assert done.stderr.count("dask-runner: error: ") == 1, told(done)


def test_two_images_of_two_families_under_one_mpiexec_are_told_by_rank(
    jobs: Jobs, other_image: str
) -> None:
    jobs.write("script.py", "print('never')")
    first, second = (
        ("apptainer", "run", sif, "script.py") for sif in (SIF, other_image)
    )

    done = jobs.start(
        *("mpiexec.mpich", "-n", "1", *first, ":", "-n", "1", *second)
    ).wait(stray=".*")

    assert (done.returncode, FAMILIES in done.stderr) == (78, True), told(done)
    assert "never" not in done.stdout
