"""A spare node of a job, and what ``--spare`` gets where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.cluster.jobs import told
from tests.cluster.test_failures import Victim
from tests.programs import BEGIN, UNTIL_TOLD

if TYPE_CHECKING:
    from tests.cluster.jobs import Jobs

#: Prints who works, goes on when it is told to, and when another has come.
SCRIPT = f"""{BEGIN}
def names():
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return sorted(worker["name"] for worker in workers)
print(*names())
{UNTIL_TOLD}
while len(names()) < 2 or 2 not in names():
    assert time.monotonic() < deadline + 60
    time.sleep(0.02)
print(*names())
print(client.submit(os.uname, workers=2).result().nodename)
"""

#: The same with a runner in Python.
RUNNER = """\
import sys
from distributed import Client
from dask_runner import SlurmRunner

with SlurmRunner(layout="shared", spare=1) as runner, Client(runner) as client:
    client.wait_for_workers(runner.n_workers)
    print(runner.n_workers, sorted(client.run(lambda: None)) != [])
"""


def test_the_last_node_waits_and_takes_the_place_of_a_lost_rank(jobs: Jobs) -> None:
    # Ranks 0 and 1 on c1, rank 2 on c2.
    jobs.write("script.py", SCRIPT)
    job = jobs.srun("-N2 -n3", "--spare", "1", "script.py")
    job.wait_for("begun")
    victim = Victim(jobs, job)
    victim.kill(victim.of_node("dask-follower", "c1"), "c1")
    job.wait_for("rank 2 on c2 takes the place of rank 1")
    victim.go_on()
    done = victim.ends(137)  # of the rank that was killed: srun's is the highest
    assert done.stdout == "0 1\nbegun\n0 2\nc2\n", told(done)
    assert "ended with status 0" in done.stderr, told(done)
    assert "3 ranks, layout shared, 1 spare\n" in done.stderr, told(done)
    assert "on 1 node, 1 spare\n" in done.stderr, told(done)


def test_a_runner_in_python_has_spare_nodes(jobs: Jobs) -> None:
    jobs.write("script.py", RUNNER)
    done = jobs.python("-N2 -n3", "script.py").wait()
    assert (done.returncode, done.stdout) == (0, "2 True\n"), told(done)


def test_a_list_shows_how_many_nodes_wait(jobs: Jobs) -> None:
    serve = ("serve", "--name", "lab", "--spare", "1")
    job = jobs.srun("-N2 -n2", *serve)
    job.wait_for("ready after")
    line = ("apptainer", "run", "/images/dask-runner.sif")
    listed = jobs.start(*line, "list").running.wait()
    assert " 1 (1 spare) " in listed.stdout, told(listed)
    jobs.start(*line, "stop", "lab").running.wait()
    done = job.wait()
    assert done.returncode == 0, told(done)


def test_ranks_on_one_node_have_no_spare_one(jobs: Jobs) -> None:
    done = jobs.srun("-N1 -n4", "--spare", "1", "-c", "print('ran')").wait()
    assert (done.returncode, done.stdout) == (78, ""), told(done)
    assert done.stderr.count("error: --spare 1, and 4 ranks on one node") == 1, told(
        done
    )


def test_more_spare_nodes_than_can_wait_are_told_before_anything_starts(
    jobs: Jobs,
) -> None:
    done = jobs.srun("-N2 -n4", "--spare", "2", "-c", "print('ran')").wait()
    assert (done.returncode, done.stdout) == (78, ""), told(done)
    saw = "error: --spare 2, and the ranks are on 2 nodes, 1 of them without"
    assert done.stderr.count(saw) == 1, told(done)
    assert "you can: start the ranks on more nodes, or say --spare 1" in done.stderr
