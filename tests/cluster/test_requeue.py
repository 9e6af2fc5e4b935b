"""A job that is queued again before its time limit, and goes on where it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cluster.jobs import SIF, told

if TYPE_CHECKING:
    from tests.cluster.jobs import Batch, Jobs

#: Counts; saves how far it came when it is told to; and goes on from there.
SCRIPT = """\
import os, signal, sys, time
from distributed import Client

client = Client()
restart = int(os.environ["DASK_RUNNER_RESTART"])
begin = int(open("saved").read()) if os.path.exists("saved") else 0
assert (begin > 0) == (restart > 0)
# There has to be something to save.
count = begin or client.submit(lambda: 1, pure=False).result()

def save(number, frame):
    time.sleep({saving})
    with open("saved", "w") as file:
        file.write(str(count))
    print("saved", flush=True)
    sys.exit({status})

signal.signal(signal.SIGTERM, save)
print("restart", restart, "begun", flush=True)
while not restart:
    count += client.submit(lambda: 1, pure=False).result()
    time.sleep(0.1)
print("finished from", begin > 0, flush=True)
"""
#: Slurm's shortest time limit is a minute.
TIME, BEFORE = "1m", "45"
#: scontrol and its libraries, for an image that has none.
SCONTROL = (
    "/usr/bin/scontrol",
    "/usr/lib/x86_64-linux-gnu/slurm-wlm",
    "/etc/slurm",
    "/run/munge",
    "/usr/lib/x86_64-linux-gnu/libmunge.so.2",
    # It looks for the user slurm.
    "/etc/passwd",
)


def script(jobs: Jobs, saving: float = 0, status: int = 0) -> None:
    text = SCRIPT.replace("{saving}", str(saving)).replace("{status}", str(status))
    jobs.write("script.py", text)


def submitted(jobs: Jobs, *options: str) -> Batch:
    """Submit a job script that dask-runner prints, in the image."""
    words = ("-N", "2", "--time", TIME, "--", *options, "script.py")
    line = ("apptainer", "run", SIF, "job", "slurm", *words)
    jobs.write("job.sbatch", jobs.shell(*line))
    return jobs.batch("job.sbatch")


def test_a_job_saves_its_work_is_queued_again_and_finishes(jobs: Jobs) -> None:
    script(jobs, saving=2)
    job = submitted(jobs, "--requeue-before", BEFORE, "--grace", "20")

    job.wait_for("restart 1 begun")
    done = job.wait(makes=("saved", "job.sbatch"))

    assert done.returncode == 0, told(done)
    assert "SIGTERM to the script; then the job is queued again" in done.stderr
    assert "the job script queues the job again" in done.stderr
    assert done.stderr.count("saved\n") == 1, told(done)
    assert "finished from True" in done.stderr
    assert "not queued again" not in done.stderr


@pytest.mark.heavy
def test_scontrol_in_an_image_that_has_it_is_called_by_rank_0(jobs: Jobs) -> None:
    script(jobs)
    binds = ",".join(SCONTROL)
    jobs.write(
        "job.sbatch",
        "#!/bin/sh\n"
        f"export APPTAINER_BIND={binds} APPTAINERENV_APPEND_PATH=/usr/bin\n"
        f"exec srun apptainer run {SIF} --requeue-before {BEFORE} script.py\n",
    )
    options = ("-N2", f"--time={TIME.removesuffix('m')}", "--open-mode=append")
    job = jobs.batch(*options, "--requeue", "job.sbatch")

    job.wait_for("restart 1 begun")
    done = job.wait(makes=("saved",))

    assert done.returncode == 0, told(done)
    assert f"scontrol requeue {job.number}" in done.stderr
    assert "finished from True" in done.stderr
    assert "not queued again" not in done.stderr


def test_a_job_that_slurm_may_not_queue_again_is_told_at_the_start(jobs: Jobs) -> None:
    script(jobs)
    binds = ",".join(SCONTROL)
    line = f"exec srun apptainer run {SIF} --requeue-before {BEFORE} script.py"
    jobs.write("job.sbatch", f"#!/bin/sh\nexport APPTAINER_BIND={binds}\n{line}\n")

    done = jobs.batch("--no-requeue", "--time=1", "job.sbatch").wait()

    assert done.returncode == 78, told(done)
    assert "Slurm is not to queue job" in done.stderr, told(done)


@pytest.mark.parametrize(
    ("options", "before", "saw"),
    [
        ("-n1", BEFORE, "there is no scontrol on the PATH here"),
        ("-n1", "90", "the job ends in "),
    ],
)
def test_what_cannot_be_is_told_at_the_start(
    jobs: Jobs, options: str, before: str, saw: str
) -> None:
    script(jobs)
    job = jobs.srun(f"{options} --time=1", "--requeue-before", before, "script.py")
    done = job.wait()
    assert done.returncode == 78, told(done)
    assert saw in done.stderr
    assert done.stderr.count("dask-runner: error:") == 1, told(done)


@pytest.mark.heavy
def test_a_job_that_is_cancelled_while_it_saves_is_not_queued_again(
    jobs: Jobs,
) -> None:
    script(jobs, saving=600)
    job = submitted(jobs, "--requeue-before", BEFORE, "--grace", "30")
    job.wait_for("then the job is queued again")

    jobs.shell("scancel", job.number)
    done = job.wait()

    assert job.field("JobState") == "CANCELLED", told(done)
    assert job.field("Restarts") == "0"


@pytest.mark.heavy
def test_a_script_that_fails_while_it_saves_is_not_queued_again(jobs: Jobs) -> None:
    script(jobs, status=3)
    job = submitted(jobs, "--requeue-before", BEFORE)

    done = job.wait(makes=("saved",))

    assert done.returncode == 3, told(done)
    assert job.field("Restarts") == "0"


@pytest.mark.heavy
def test_a_script_that_saves_for_too_long_is_killed_and_queued_again(
    jobs: Jobs,
) -> None:
    script(jobs, saving=600)
    job = submitted(jobs, "--requeue-before", BEFORE, "--grace", "2")

    job.wait_for("the job script queues the job again")
    # It has saved nothing, so the next one stumbles over its own check.
    job.wait_for("assert (begin > 0) == (restart > 0)")
    done = job.wait()

    assert done.returncode == 1, told(done)
    assert job.field("Restarts") == "1"


@pytest.mark.heavy
def test_a_rank_0_that_is_killed_while_the_script_saves_queues_nothing(
    jobs: Jobs,
) -> None:
    script(jobs, saving=600)
    job = submitted(jobs, "--requeue-before", BEFORE, "--grace", "30")
    job.wait_for("then the job is queued again")

    jobs.shell("scancel", "--signal=KILL", f"{job.number}.0")
    done = job.wait(leaves=r".")

    assert done.returncode == 137, told(done)
    assert job.field("Restarts") == "0"


def test_a_job_whose_node_is_wanted_by_others_saves_and_goes_on_later(
    jobs: Jobs,
) -> None:
    script(jobs)
    line = f"exec srun apptainer run {SIF} --grace 8 script.py"
    jobs.write("job.sbatch", f"#!/bin/sh\n{line}\n")
    job = jobs.batch("-N2", "--requeue", "--open-mode=append", "job.sbatch")
    job.wait_for("restart 0 begun")

    urgent = jobs.start("srun", "--partition=urgent", "-N2", "--exclusive", "true")
    assert urgent.running.wait().returncode == 0
    job.wait_for("restart 1 begun")
    done = job.wait(makes=("saved",))

    assert done.returncode == 0, told(done)
    assert "finished from True" in done.stderr
    assert job.field("Restarts") == "1"
