"""What happens when something dies, or is to end, beside the matrix of failures.

``tests/failures`` has one rank a node, and a script that does nothing on its own about
signals.
"""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from containers.commands import Completed
from tests.cluster.jobs import Job, Jobs, told
from tests.failures import look
from tests.programs import BEGIN, UNTIL_TOLD
from tests.waiting import until

# After the blow.
END_SECONDS = 10

# Runs until it is told to go on.
SCRIPT = f"""{BEGIN}{UNTIL_TOLD}
print(client.gather(client.map(lambda x: 2 * x, range(4))))
"""

# Slurm's own words about a step that was cancelled; and Apptainer's where the
# process that it has started was killed and others still use the image.
SLURM = (
    r"slurmstepd-\w+: error: .*|srun: (error|Job step|Force|forcing|interrupt"
    r"|sending|Cancelled|Terminat).*|INFO: +(Terminating squashfuse|Timeouts can be).*"
)


class Victim:
    """A job that has begun, and the blows that it can get.

    Parameters
    ----------
    jobs : Jobs
    job : Job
        It has begun.
    """

    def __init__(self, jobs: Jobs, job: Job) -> None:
        self.jobs = jobs
        self.job = job

    def of_node(self, pattern: str, node: str) -> int:
        """Return a process of ours on a node, by its name or command line."""
        lines = self.jobs.processes(node)
        found = re.search(rf"^ *(\d+) .*{pattern}", lines, re.MULTILINE)
        assert found, lines
        return int(found[1])

    def kill(self, pid: int, node: str) -> None:
        """Kill a process, as the kernel does when memory is short."""
        line = ["kill", "-KILL", str(pid)]
        done = self.jobs.cluster.run(line, node=node, user="root")
        assert done.returncode == 0, told(done)

    def go_on(self) -> None:
        """Let the script go on to its end."""
        self.jobs.write("go", "")

    def ends(self, status: int, stray: str = SLURM) -> Completed:
        """Wait for the end, which must be soon, and leave nothing."""
        began = time.monotonic()
        self.job.running.wait()
        seconds = time.monotonic() - began
        done = self.job.wait(stray=stray)
        assert done.returncode == status, told(done)
        assert seconds < END_SECONDS, f"{seconds:.1f} s\n{told(done)}"
        return done


Begin = Callable[..., Victim]


@pytest.fixture
def begin(jobs: Jobs) -> Begin:
    """Start a job on 2 nodes and wait until it is in the middle of its script."""

    def begin(script: str = SCRIPT, options: str = "-N2 -n2", **how: Any) -> Victim:
        jobs.write("script.py", script)
        job = jobs.srun(options, "script.py", **how)
        job.wait_for("begun")
        return Victim(jobs, job)

    return begin


@pytest.mark.system("Apptainer", "a killed container")
def test_a_lost_rank_is_named_and_the_script_goes_on(begin: Begin) -> None:
    victim = begin(options="-N2 --ntasks-per-node=2")

    # The last of its node, so not the one whose agent others may use.
    victim.kill(victim.of_node("bin/dask-runner script.py", "c2"), "c2")
    victim.job.wait_for("lost", END_SECONDS)
    victim.go_on()

    # The highest of all tasks' statuses is srun's, whatever rank 0 ends with.
    done = victim.ends(137)
    assert done.stdout.endswith("[0, 2, 4, 6]\n"), told(done)
    assert re.search(r"warning: lost ranks? [\d, ]+ on c2: ", done.stderr), told(done)
    assert "ended with status 0" in done.stderr, told(done)


HANDLES = """import signal, sys, time
from distributed import Client
client = Client()
def handle(number, frame):
    time.sleep(2)
    print("saved", client.submit(pow, 2, 10).result(), flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, handle)
print("begun", flush=True)
signal.pause()
"""


@pytest.mark.system("Slurm", "taken away")
@pytest.mark.system("Apptainer", "scancel")
def test_a_script_has_time_to_save_its_work_after_scancel(begin: Begin) -> None:
    victim = begin(HANDLES)

    victim.jobs.shell("scancel", "--user=user")

    done = victim.ends(143)
    assert done.stdout.endswith("saved 1024\n"), told(done)


def hears_signals(jobs: Jobs, node: str) -> bool:
    """Say whether the rank of a node is past the time in which a signal is its end."""
    line = ["python3", "-c", Path(look.__file__).read_text(), "SLURM_PROCID="]
    found = jobs.cluster.run(line, node=node, user="user").stdout.splitlines()
    processes = [json.loads(one) for one in found]
    return any(one["hears"] and one["name"].startswith("dask-") for one in processes)


def test_a_job_that_is_cancelled_before_it_is_ready_leaves_nothing(
    jobs: Jobs,
) -> None:
    job = jobs.srun("-N2 -n2", "-c", "print('begun')")
    job.wait_for("2 ranks")
    # A rank that is ended before its first line reads no notice, which waits for it.
    until(lambda: hears_signals(jobs, "c2"))

    jobs.shell("scancel", "--user=user")

    done = Victim(jobs, job).ends(143)
    assert not done.stdout, told(done)
