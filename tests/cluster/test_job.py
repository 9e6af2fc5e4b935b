"""Job scripts of ``dask-runner job``, which Slurm reads and runs."""

from __future__ import annotations

import shlex
import time

import pytest

from tests.cluster.jobs import SIF, WORDS_SECONDS, Batch, Jobs, told

SCRIPT = """\
import socket, sys
from distributed import Client
client = Client()
nodes = sorted(set(client.run(socket.gethostname).values()))
print(sys.argv[1:], nodes, len(client.nthreads()))
"""

#: Arguments that a shell, Slurm or a template would take for something else.
HOSTILE = ["a b", "it's $HOME", "$(touch owned)", "x\ntouch owned", "{{ 7 * 7 }}", "-n"]

#: What dask-runner needs of the image's packages to print and submit a job script.
PACKAGES = ("dask_runner", "click", "jinja2", "markupsafe")


def printed_to_sbatch(jobs: Jobs, *args: str) -> Batch:
    """Print a job script in the image, on the login node, and submit it there."""
    line = shlex.join(["apptainer", "run", SIF, "job", "slurm", "-o", "out", *args])
    return jobs.queued(jobs.shell("sh", "-c", f"{line} | sbatch --parsable").strip())


@pytest.fixture
def on_the_host(jobs: Jobs) -> list[str]:
    """The command line outside of an image, on a machine that has sbatch."""
    lib = f"{jobs.directory}/lib"
    copy = (
        "import importlib.util as u, shutil, sys\n"
        "for name in sys.argv[2:]:\n"
        "    where = u.find_spec(name).submodule_search_locations[0]\n"
        "    shutil.copytree(where, f'{sys.argv[1]}/{name}')"
    )
    jobs.shell("apptainer", "exec", SIF, "python", "-c", copy, lib, *PACKAGES)
    jobs.makes("lib")
    variables = (f"PYTHONPATH={lib}", "PYTHONDONTWRITEBYTECODE=1")
    return ["env", *variables, "python3", "-m", "dask_runner"]


def test_what_the_image_prints_is_a_job_that_runs(jobs: Jobs) -> None:
    jobs.write("script.py", SCRIPT)

    done = printed_to_sbatch(
        *(jobs, "-N2", "-c", "2", "--mem", "512MiB", "-t", "0:10:00"),
        *("-J", "lab", "--", "--nworkers", "2", "script.py", *HOSTILE),
    ).wait()

    assert done.returncode == 0, told(done)
    assert f"{HOSTILE} ['c1', 'c2'] 4\n" in done.stderr, told(done)


def test_slurm_gives_the_job_what_it_asks_for(jobs: Jobs) -> None:
    jobs.write("script.py", SCRIPT)

    job = printed_to_sbatch(
        *(jobs, "-N2", "--ntasks-per-node", "2", "-c", "3", "--mem", "600MB"),
        *("--time", "90m", "-J", "lab", "--directive", "--comment=mine"),
        *("--", "script.py"),
    )

    asked = {
        "JobName": "lab",
        "NumNodes": "2",
        "NumTasks": "4",
        "CPUs/Task": "3",
        "MinMemoryNode": "573M",
        "TimeLimit": "01:30:00",
        "Comment": "mine",
    }
    found = {name: job.field(name) for name in asked}
    # As long as it waits, these are the fewest and the most.
    assert found | {"NumNodes": found["NumNodes"].partition("-")[0]} == asked
    done = job.wait()
    assert (done.returncode, "[] ['c1', 'c2'] 4\n" in done.stderr) == (0, True), told(
        done
    )


def test_a_served_cluster_is_submitted_found_and_stopped(
    jobs: Jobs, on_the_host: list[str]
) -> None:
    options = ["job", "slurm", "-N2", "--image", SIF, "-o", "out", "--submit"]

    said = jobs.shell(*on_the_host, *options, "--", "serve", "--name", "lab")

    words = said.split()
    assert words[:-1] == ["Submitted", "batch", "job"]
    job = jobs.queued(words[-1])
    job.wait_for("ready after")
    code = "from distributed import Client; print(len(Client().nthreads()))"
    image = ("apptainer", "run", SIF)
    assert jobs.shell(*image, "connect", "lab", "-c", code) == "2\n"
    jobs.shell(*image, "stop", "lab")
    done = job.wait()
    assert done.returncode == 0, told(done)


def test_the_job_has_the_status_of_the_script(jobs: Jobs) -> None:
    job = printed_to_sbatch(jobs, "--", "-c", "raise SystemExit(3)")

    assert job.wait().returncode == 3


def test_an_image_that_the_nodes_cannot_read_is_told_once(jobs: Jobs) -> None:
    job = printed_to_sbatch(jobs, "-N2", "--image", "/images/none.sif", "--", "serve")

    done = job.wait()
    assert done.returncode == 78, told(done)
    assert done.stderr.count("cannot read the image /images/none.sif") == 1, told(done)


def test_what_slurm_refuses_is_told_with_its_words(
    jobs: Jobs, on_the_host: list[str]
) -> None:
    options = ["job", "slurm", "--image", SIF, "-p", "nosuch", "--submit"]

    done = jobs.start(*on_the_host, *options, "--", "serve").wait()

    assert (done.returncode, done.stdout) == (75, ""), told(done)
    first, *_ = done.stderr.splitlines()
    assert first == "dask-runner: error: sbatch ended with status 1"
    assert "invalid partition specified: nosuch" in done.stderr, told(done)


def test_the_image_has_no_command_that_submits(jobs: Jobs) -> None:
    line = ["apptainer", "run", SIF, "job", "slurm", "--submit", "--", "serve"]

    done = jobs.start(*line).wait()

    assert (done.returncode, done.stdout) == (78, ""), told(done)
    assert "there is no sbatch on the PATH here" in done.stderr, told(done)
    assert "| sbatch" in done.stderr, told(done)


def test_a_controller_that_does_not_answer_is_given_up(
    jobs: Jobs, on_the_host: list[str]
) -> None:
    # The controller's process, and no node: it accepts, and answers nothing.
    stop = "pkill -STOP -x slurmctld"
    jobs.shell("sh", "-c", stop, user="root")
    try:
        began = time.monotonic()
        # It is asked, and queues nothing when it goes on.
        ask = ["job", "slurm", "--image", SIF, "--directive", "--test-only"]
        options = [*ask, "--submit", "--timeout", "3"]
        done = jobs.start(*on_the_host, *options, "--", "serve").running.wait()
        took = time.monotonic() - began
    finally:
        jobs.shell("sh", "-c", "pkill -CONT -x slurmctld", user="root")

    assert (done.returncode, done.stdout) == (75, ""), told(done)
    assert "sbatch has not ended after 3 s" in done.stderr, told(done)
    assert took < WORDS_SECONDS
