"""What bad input gets: one message in three parts, once; its status; no ranks left."""

import re

import pytest

from containers.commands import Completed
from tests.cluster.jobs import SIF, Jobs, ours, told

# All ranks are gone so soon, on a busy machine too. The longest is a place to meet
# that nobody can write: other ranks give rank 0 some seconds to find another.
SOON = 30

# One for each stage that refuses; more arguments in tests/local/test_bad_input.py.
OPTIONS = {
    "an unknown option": (("--nworker", "3", "x.py"), "--nworker", 2),
    "another launcher": (("--launcher", "openmpi", "x.py"), "OMPI_", 78),
    "a missing script": (("missing.py",), "'missing.py': No such file", 78),
    "a missing command": (("--", "no-such-command"), "'no-such-command'", 78),
    "an unknown interface": (("--interface", "ib7", "-c", "0"), "ib7", 78),
    "an unwritable meeting": (
        ("--scheduler-file", "/images/s-{job_id}.json", "-c", "0"),
        "/images/s-",
        78,
    ),
}


def only_message(done: Completed) -> list[str]:
    """Return the one error, in three parts: what was seen, needed, can be done."""
    lines = [line.removeprefix("dask-runner: ") for line in ours(done)]
    begins = [number for number, line in enumerate(lines) if "error: " in line]
    assert len(begins) == 1, told(done)
    parts = lines[begins[0] :]
    assert [part for part in parts if part.startswith("  needed: ")], told(done)
    assert [part for part in parts if part.startswith("  you can: ")], told(done)
    return parts


@pytest.mark.system("Slurm", "a failed rank")
@pytest.mark.parametrize(("args", "word", "status"), OPTIONS.values(), ids=OPTIONS)
def test_bad_input_is_refused_once_for_all_ranks(
    jobs: Jobs, args: tuple[str, ...], word: str, status: int
) -> None:
    done = jobs.srun("-N2 -n4", *args).wait()

    assert done.returncode == status, told(done)
    assert word in only_message(done)[0], told(done)
    assert not done.stdout, told(done)
    assert done.seconds < SOON, told(done)


def test_the_layout_dedicated_says_how_many_tasks_it_needs(jobs: Jobs) -> None:
    done = jobs.srun("-N2 -n2", "--layout", "dedicated", "-c", "0").wait()

    assert done.returncode == 78, told(done)
    assert "2 ranks" in only_message(done)[0], told(done)
    assert "srun -n 3" in done.stderr, told(done)


def test_slurm_is_refused_as_a_launcher_outside_a_step(jobs: Jobs) -> None:
    done = jobs.start("apptainer", "run", SIF, "--launcher", "slurm", "-c", "0").wait()

    assert done.returncode == 78, told(done)
    assert re.search(r"--launcher slurm.* not set", only_message(done)[0]), told(done)


# A home that the image does not see, or cannot write; the working directory is
# shared, and takes its place.
@pytest.mark.parametrize(
    "apptainer",
    ["--no-home", "--home /nowhere", "--bind /images:{home}:ro --home {home}"],
    ids=["no home", "an empty home", "a home to read only"],
)
def test_a_job_needs_no_home(jobs: Jobs, apptainer: str) -> None:
    jobs.write("script.py", "from distributed import Client\nClient()\nprint('ran')\n")
    options = apptainer.format(home="/home/other").split()
    line = ["srun", "-N2", "-n2", "apptainer", "run", *options]

    done = jobs.start(*line, "--bind", jobs.directory, SIF, "script.py").wait()

    assert (done.returncode, done.stdout) == (0, "ran\n"), told(done)


def test_a_place_to_meet_that_no_rank_can_write_is_an_error(jobs: Jobs) -> None:
    line = ["srun", "-N2", "-n2", "apptainer", "run", "--no-home", "--pwd", "/"]

    done = jobs.start(*line, SIF, "-c", "0").wait()

    assert done.returncode == 78, told(done)
    assert "cannot write the file by which the ranks meet" in only_message(done)[0]
