"""Jobs around srun: sbatch, salloc, several steps, requeue, mpiexec inside."""

import re
from pathlib import Path

from tests.cluster.jobs import SIF, Jobs, told

RECIPES = Path(__file__).resolve().parents[2] / "recipes"

NODES = """\
import socket, sys
from distributed import Client
client = Client()
nodes = sorted(set(client.run(socket.gethostname).values()))
print(sys.argv[1:], len(client.scheduler_info(n_workers=-1)["workers"]) > 1, nodes)
"""


def test_the_recipe_for_sbatch_runs_a_script_on_the_whole_allocation(
    jobs: Jobs,
) -> None:
    jobs.write("job.sbatch", (RECIPES / "job.sbatch").read_text())
    jobs.write("script.py", NODES)

    done = jobs.batch("job.sbatch", "script.py", "a b", env={"IMAGE": SIF}).wait()

    assert done.returncode == 0, told(done)
    assert "['a b'] True ['c1', 'c2']\n" in done.stderr, told(done)


def test_the_recipe_tells_of_a_missing_image_before_srun(jobs: Jobs) -> None:
    jobs.write("job.sbatch", (RECIPES / "job.sbatch").read_text())

    image = {"IMAGE": "/images/no-such.sif"}
    done = jobs.batch("job.sbatch", "script.py", env=image).wait()

    assert done.returncode == 78, told(done)
    assert "cannot read the image /images/no-such.sif" in done.stderr, told(done)
    assert "FATAL" not in done.stderr, told(done)


def test_srun_in_salloc_uses_the_allocation(jobs: Jobs) -> None:
    jobs.write("script.py", NODES)
    line = ("salloc", "-N2", "-n4", "srun", "apptainer", "run", SIF, "script.py")

    done = jobs.start(*line).wait(stray="salloc: .*")

    assert done.returncode == 0, told(done)
    assert done.stdout == "[] True ['c1', 'c2']\n", told(done)


# Each waits until the other has begun, so the clusters are there at the same time.
TOGETHER_SECONDS = """\
import os, pathlib, sys, time
from distributed import Client
me, other = sys.argv[1:]
client = Client()
pathlib.Path(f"begun-{me}").touch()
deadline = time.monotonic() + 60
while not os.path.exists(f"begun-{other}"):
    assert time.monotonic() < deadline, "the other never begins"
    time.sleep(0.02)
names = client.run(lambda: os.environ["SLURM_STEP_ID"] + os.environ["SLURM_JOB_ID"])
print(me, len(names), set(names.values()) == {
    os.environ["SLURM_STEP_ID"] + os.environ["SLURM_JOB_ID"]})
"""


def test_two_steps_of_one_job_are_two_clusters(jobs: Jobs) -> None:
    jobs.write("script.py", TOGETHER_SECONDS)
    jobs.write(
        "job.sbatch",
        "#!/bin/bash\n"
        # A step takes all the memory of its job if it does not say how much.
        "step='srun --exact --mem=2G -N2 --ntasks-per-node=1'\n"
        f'step="$step apptainer run {SIF} script.py"\n'
        "$step 1 2 & $step 2 1 & wait -n && wait -n\n",
    )

    job = jobs.batch("-N2", "--ntasks-per-node=2", "--mem=4G", "job.sbatch")
    done = job.wait(makes=("begun-1", "begun-2"))

    assert done.returncode == 0, told(done)
    said = re.findall(r"^\d \d \w+$", done.stderr, re.MULTILINE)
    assert sorted(said) == ["1 2 True", "2 2 True"], told(done)


def test_the_jobs_of_an_array_are_clusters_of_their_own(jobs: Jobs) -> None:
    jobs.write("script.py", TOGETHER_SECONDS)
    jobs.write(
        "job.sbatch",
        "#!/bin/bash\n"
        "me=$SLURM_ARRAY_TASK_ID\n"
        f"srun apptainer run {SIF} script.py $me $((1 - me)) >out-$me\n",
    )

    job = jobs.batch("--array=0-1", "-N2", "-n2", "--open-mode=append", "job.sbatch")
    done = job.wait(makes=("begun-0", "begun-1", "out-0", "out-1"))

    assert jobs.read("out-0") == "0 2 True\n", told(done)
    assert jobs.read("out-1") == "1 2 True\n", told(done)


def test_a_requeued_job_begins_afresh(jobs: Jobs) -> None:
    jobs.write(
        "script.py",
        "import os, time\n"
        "from distributed import Client\n"
        "restarts = int(os.environ.get('SLURM_RESTART_COUNT', 0))\n"
        "workers = Client().scheduler_info(n_workers=-1)['workers']\n"
        "print('restart', restarts, 'workers', len(workers), flush=True)\n"
        "time.sleep(0 if restarts else 600)\n",
    )
    jobs.write("job.sbatch", f"#!/bin/bash\nexec srun apptainer run {SIF} script.py\n")
    job = jobs.batch("-N2", "-n2", "--requeue", "--open-mode=append", "job.sbatch")
    job.wait_for("restart 0 workers 2")

    jobs.shell("scontrol", "requeue", job.number)
    done = job.wait()

    assert done.returncode == 0, told(done)
    assert "restart 1 workers 2" in done.stderr, told(done)


def test_a_forgotten_srun_is_refused_with_the_line_to_write(jobs: Jobs) -> None:
    jobs.write("script.py", NODES)
    jobs.write("job.sbatch", f"#!/bin/bash\napptainer run {SIF} script.py 'a b'\n")

    done = jobs.batch("-N2", "-n4", "job.sbatch").wait()

    assert done.returncode == 78, told(done)
    assert done.stderr.count("dask-runner: error:") == 1, told(done)
    assert f"srun apptainer run {SIF} script.py 'a b'\n" in done.stderr, told(done)


def test_mpiexec_of_the_images_family_starts_ranks_in_a_batch_job(
    jobs: Jobs,
) -> None:
    jobs.write("script.py", NODES)
    line = f"mpiexec.openmpi -n 4 apptainer run {SIF} script.py 'a b'"
    jobs.write("job.sbatch", f"#!/bin/bash\n{line}\n")

    done = jobs.batch("-N2", "--ntasks-per-node=2", "job.sbatch").wait()

    assert done.returncode == 0, told(done)
    assert "['a b'] True ['c1', 'c2']\n" in done.stderr, told(done)
    assert "openmpi job " in done.stderr, told(done)
    assert ": 4 ranks, " in done.stderr, told(done)


def test_mpiexec_of_another_family_than_the_images_starts_ranks_as_well(
    jobs: Jobs,
) -> None:
    jobs.write("script.py", NODES)
    line = f"mpiexec.mpich -n 4 apptainer run {SIF} script.py 'a b'"
    jobs.write("job.sbatch", f"#!/bin/bash\n{line}\n")

    done = jobs.batch("-N2", "--ntasks-per-node=2", "job.sbatch").wait()

    assert done.returncode == 0, told(done)
    assert "['a b'] True ['c1', 'c2']\n" in done.stderr, told(done)
    assert ": 4 ranks, " in done.stderr, told(done)
