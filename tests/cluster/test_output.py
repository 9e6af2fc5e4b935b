"""What a batch job prints is in its file while it runs, and after each end of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cluster.jobs import SIF, told

if TYPE_CHECKING:
    from tests.cluster.jobs import Batch, Jobs

#: Prints steps, in the script and in tasks on all workers, and cleans up at the end.
SCRIPT = """\
import os, time
from distributed import Client

def step(n):
    print("task", n)
    return n

client = Client()
try:
    for n in range(6):
        done = client.run(step, n)
        print("step", n, "of", len(done))
    while not os.path.exists("go"):
        time.sleep(0.1)
finally:
    print("cleaned up")
"""
ALL = [f"step {n} of 2" for n in range(6)]


def submitted(jobs: Jobs, *options: str, given: str = "") -> Batch:
    jobs.write("script.py", SCRIPT)
    line = f"exec srun apptainer run {SIF} {given} script.py"
    jobs.write("job.sbatch", f"#!/bin/sh\n{line}\n")
    job = jobs.batch("-N2", *options, "job.sbatch")
    job.wait_for(ALL[-1])
    return job


def steps(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith("step ")]


def test_each_step_is_in_the_file_while_the_job_runs(jobs: Jobs) -> None:
    job = submitted(jobs)
    for n in range(6):
        job.wait_for(f"task {n}\n")
    assert job.field("JobState") == "RUNNING"

    jobs.write("go", "")
    done = job.wait(makes=("go",))

    assert done.returncode == 0, told(done)
    lines = done.stderr.splitlines()
    assert sum("task " in line for line in lines) == 2 * len(ALL), told(done)
    last = next(n for n, line in enumerate(lines) if "ended with status 0" in line)
    assert all(n < last for n, line in enumerate(lines) if "task " in line), told(done)


def test_a_job_that_is_cancelled_cleans_up_and_keeps_its_lines(jobs: Jobs) -> None:
    job = submitted(jobs)

    jobs.shell("scancel", job.number)
    done = job.wait()

    assert steps(done.stderr) == ALL, told(done)
    assert "cleaned up\n" in done.stderr, told(done)
    assert "Traceback" not in done.stderr, told(done)


@pytest.mark.heavy  # Slurm's shortest time limit is a minute
@pytest.mark.parametrize("given", ["", "--stop-before 30"])
def test_a_job_that_comes_to_its_time_limit_does_too(jobs: Jobs, given: str) -> None:
    job = submitted(jobs, "--time=1", given=given)

    done = job.wait()

    assert steps(done.stderr) == ALL, told(done)
    assert "cleaned up\n" in done.stderr, told(done)
    assert "ended with status 143" in done.stderr, told(done)
