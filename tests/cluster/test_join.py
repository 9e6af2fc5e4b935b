"""Jobs join a cluster that runs in another job, and leave it."""

from __future__ import annotations

import random
import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.jobs import SIF, told
from tests.cluster.test_serve import image, listed, serve

if TYPE_CHECKING:
    from tests.cluster.jobs import Batch, Job, Jobs

SECONDS = 120
SEED = 20
#: How many come and go at random.
JOINS = 20

#: Prints the names of the workers.
WORKERS = """\
from dask.distributed import Client
from dask_runner import Cluster
client = Client(Cluster.from_name("lab"))
workers = client.scheduler_info(n_workers=-1)["workers"].values()
print(*sorted(str(one["name"]) for one in workers))
"""

#: Chains of tasks, whose data are on the workers that made them.
TASKS = """\
import time
from dask.distributed import Client
from dask_runner import Cluster

def add(number, more=0):
    time.sleep(0.05)
    return number + more

client = Client(Cluster.from_name("lab"))
print("begun", flush=True)
first = client.map(add, range(1000), pure=False)
second = [client.submit(add, one, 1) for one in first]
print(sum(client.gather(second)))
"""

#: What a job array, or a job that is requeued, runs.
JOIN = f"""\
#!/bin/sh
exec srun apptainer run {SIF} join lab
"""


def join(jobs: Jobs, options: str, *args: str) -> Job:
    return jobs.srun(options, "join", "lab", *args)


def workers(jobs: Jobs, number: int, seconds: float = SECONDS) -> dict[str, Any]:
    """Wait until the cluster has so many workers; return its state."""
    deadline = time.monotonic() + seconds
    while True:
        (found,) = listed(jobs)
        if found["workers"] == number:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def joins_of(found: dict[str, Any]) -> list[str]:
    return [join["name"] for join in found["joins"]]


def names(jobs: Jobs) -> list[str]:
    jobs.write("names.py", WORKERS)
    return image(jobs, "connect", "lab", "names.py")[0].split()


def end(jobs: Jobs, *jobs_of_joins: Job, serving: Job) -> str:
    """Stop the cluster, and check that it and its joins end with 0."""
    image(jobs, "stop", "lab")
    for job in jobs_of_joins:
        done = job.running.wait()
        assert done.returncode == 0, told(done)
    done = serving.wait()
    assert done.returncode == 0, told(done)
    return done.stderr


@pytest.mark.system("Apptainer", "join")
@pytest.mark.system("Slurm", "join")
def test_jobs_of_any_size_join_and_end_with_the_cluster(jobs: Jobs) -> None:
    serving = serve(jobs, "-N1 -n1 -w c1 -c4")
    first = join(jobs, "-N2 -n4", "--nworkers", "2")
    first.wait_for("joined the cluster lab on c1 as j1")
    workers(jobs, 9)
    number = jobs.shell("squeue", "-h", "-o", "%i", "-w", "c1").split()[-1]
    second = join(jobs, f"--overlap --jobid={number} -N1 -n1")
    assert joins_of(workers(jobs, 10)) == ["j1", "j2"]
    found = names(jobs)
    assert found[:2] == ["0", "j1.0"]
    assert [name for name in found if name.startswith("j2")] == ["j2.0"]
    said = end(jobs, first, second, serving=serving)
    assert re.search(r"join j1: 4 ranks of slurm job \d+\n", said)
    for job in (first, second):
        assert "left the cluster: the cluster has ended" in job.running.wait().stderr


def test_a_join_waits_for_its_cluster(jobs: Jobs) -> None:
    early = join(jobs, "-N2 -n2")
    time.sleep(2)  # its ranks look for the cluster in vain
    serving = serve(jobs, "-N1 -n1")
    workers(jobs, 3)
    end(jobs, early, serving=serving)


def test_each_element_of_a_job_array_joins(jobs: Jobs) -> None:
    serving = serve(jobs, "-N1 -n1")
    jobs.write("join.sh", JOIN)
    array = jobs.batch("--array=1-4", "-n1", "--open-mode=append", "join.sh")
    assert joins_of(workers(jobs, 5)) == ["j1", "j2", "j3", "j4"]
    said = end(jobs, serving=serving)
    assert said.count(": 1 rank of slurm job ") == 4
    assert ended(array) == "COMPLETED"


def ended(batch: Batch) -> str:
    deadline = time.monotonic() + SECONDS
    while (state := batch.field("JobState")) in {"RUNNING", "COMPLETING", "PENDING"}:
        assert time.monotonic() < deadline, batch.output
        time.sleep(0.1)
    return state


def test_a_join_that_is_requeued_joins_again(jobs: Jobs) -> None:
    serving = serve(jobs, "-N1 -n1")
    jobs.write("join.sh", JOIN)
    batch = jobs.batch("--requeue", "-n1", "--open-mode=append", "join.sh")
    assert joins_of(workers(jobs, 2)) == ["j1"]
    jobs.shell("scontrol", "requeue", batch.number)
    serving.wait_for("join j1 has left")
    # Slurm begins it again after 20 s. Begun in the second of its end, it fails.
    assert joins_of(workers(jobs, 2)) == ["j2"]
    assert "lost" not in end(jobs, serving=serving)
    assert ended(batch) == "COMPLETED"


def test_a_join_that_is_preempted_leaves_in_order_and_joins_again(jobs: Jobs) -> None:
    serving = serve(jobs, "-N1 -n1 -w c1 --partition=urgent")
    jobs.write("join.sh", JOIN)
    batch = jobs.batch("--requeue", "-n1", "-w", "c2", "--open-mode=append", "join.sh")
    assert joins_of(workers(jobs, 2)) == ["j1"]
    line = ("srun", "--partition=urgent", "-w", "c2", "--exclusive", "true")
    assert jobs.start(*line).running.wait().returncode == 0
    serving.wait_for("join j1 has left")
    assert joins_of(workers(jobs, 2)) == ["j2"]
    assert "lost" not in end(jobs, serving=serving)
    assert ended(batch) == "COMPLETED"


def test_a_join_leaves_before_the_end_of_its_job(jobs: Jobs) -> None:
    serving = serve(jobs, "-N1 -n1")
    joining = join(jobs, "-N1 -n2 --time=1", "--stop-before", "50")
    workers(jobs, 3)
    serving.wait_for("join j1 leaves: its job ends soon")
    done = joining.running.wait()
    assert done.returncode == 0, told(done)
    assert "left the cluster: its job ends soon" in done.stderr
    assert "lost" not in end(jobs, serving=serving)


def test_a_join_that_is_cancelled_takes_its_workers_away_in_order(jobs: Jobs) -> None:
    serving = serve(jobs, "-N1 -n1")
    joining = join(jobs, "-N2 -n2")
    workers(jobs, 3)
    jobs.shell("scancel", *job_of("j1", serving))
    workers(jobs, 1)
    joining.running.wait()
    assert "lost" not in end(jobs, serving=serving)


def job_of(name: str, serving: Job) -> list[str]:
    """Return the number of a join's job, as the cluster tells it."""
    serving.wait_for(f"join {name}: ")
    # srun may bring the rest of the line a moment later.
    deadline = time.monotonic() + SECONDS
    while not (
        found := re.findall(rf"join {name}: .* job (\d+)\n", serving.running.stderr)
    ):
        assert time.monotonic() < deadline, serving.running.stderr
        time.sleep(0.05)
    return [found[-1]]


@pytest.mark.heavy
def test_nothing_is_lost_where_joins_come_and_go_at_random(jobs: Jobs) -> None:
    chance = random.Random(SEED)  # noqa: S311  a test's
    serving = serve(jobs, "-N1 -n1 -c2")
    jobs.write("tasks.py", TASKS)
    client = jobs.start("apptainer", "run", SIF, "connect", "lab", "tasks.py")
    client.wait_for("begun")
    running: dict[str, Job] = {}
    for number in range(1, JOINS + 1):
        name = f"j{number}"
        running[name] = join(jobs, f"-N1 -n{chance.choice((1, 2))}", "--grace", "2")
        running[name].wait_for(f"joined the cluster lab on c1 as {name}")
        while len(running) > chance.choice((1, 2, 3)):
            away = chance.choice(list(running))
            gone = running.pop(away)
            if chance.random() < 1 / 2:
                image(jobs, "stop", "lab", "--join", away)
            else:
                jobs.shell("scancel", "--signal=TERM", *job_of(away, serving))
            gone.running.wait()
    done = client.running.wait()
    assert done.returncode == 0, told(done)
    assert done.stdout == f"begun\n{sum(range(1000)) + 1000}\n"
    said = end(jobs, *running.values(), serving=serving)
    assert "lost" not in said
    assert f"join j{JOINS}" in said
