"""A program outside of the image submits jobs that join, and sees them off."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest

from ci.slurm.cluster import HOME
from tests.cluster.jobs import SIF, told
from tests.cluster.test_serve import image, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cluster.jobs import Jobs

#: The image's packages, for the Python of the login node, which is of the same version.
PACKAGES = f"{HOME}/packages"

BEGIN = f"""\
import logging, subprocess, sys, time
from dask.distributed import Client, Event
from dask_runner import Cluster
from dask_runner.errors import RunnerError

JOB = {{"image": "{SIF}", "output": "/dev/null"}}
WAITS = JOB | {{"directive": ["--hold"]}}
NEVER = JOB | {{"no_image": True, "prologue": ["exit 3"]}}

THERE = "PENDING,RUNNING,COMPLETING"

def until(reached):
    latest = time.monotonic() + 90
    while not reached():
        assert time.monotonic() < latest, reached
        time.sleep(0.05)

def names():
    workers = cluster.scheduler_info["workers"].values()
    return sorted(str(one["name"]) for one in workers)

def queued(state="PENDING"):
    command = ["squeue", "--me", "-h", "-o", "%A", "--sort=i", "-t", state]
    return subprocess.run(command, capture_output=True, text=True).stdout.split()

def are(*wanted):
    until(lambda: names() == [*wanted])

logging.getLogger("distributed.deploy.adaptive").setLevel("WARNING")
cluster = Cluster.from_name("lab")
client = Client(cluster)
"""


@pytest.fixture(scope="module")
def packages(cluster: object) -> Iterator[None]:
    """The image's packages, where the login node's Python finds them."""
    run = cluster.run  # type: ignore[attr-defined]
    found = "import dask, os; print(os.path.dirname(dask.__path__[0]))"
    where = ["apptainer", "exec", SIF, "python", "-c", found]
    source = run(where, user="user", timeout=60).stdout.strip()
    copied = run(
        ["apptainer", "exec", SIF, "cp", "-r", source, PACKAGES],
        user="user",
        timeout=120,
    )
    assert copied.returncode == 0, told(copied)
    yield
    run(["rm", "-rf", PACKAGES], user="user", timeout=60)


@pytest.fixture
def attached(packages: None, jobs: Jobs) -> Callable[..., tuple[str, str]]:
    """Run a program on the login node; return what it prints, without Dask's notes."""
    del packages
    serving = serve(jobs, "-N1 -n1 -c2")

    def run(code: str, *, ends: bool = False) -> tuple[str, str]:
        jobs.write("program.py", f"{BEGIN}{code}")
        variables = (f"PYTHONPATH={PACKAGES}", "PYTHONDONTWRITEBYTECODE=1")
        line = ["env", *variables, "python3", "program.py"]
        done = jobs.start(*line).running.wait()
        assert done.returncode == 0, told(done)
        if not ends:
            image(jobs, "stop", "lab")
        ended = serving.wait()
        assert ended.returncode == 0, told(ended)
        return done.stdout, done.stderr

    return run


def test_jobs_are_submitted_and_seen_off_the_newest_first(
    attached: Callable[..., tuple[str, str]],
) -> None:
    code = """
cluster.scale(jobs=2, job=JOB)
until(lambda: len(names()) == 3)
cluster.scale(jobs=3)
are("0", "j1.0", "j2.0", "j3.0")
cluster.scale(jobs=1)
are("0", "j1.0")
until(lambda: len(queued(THERE)) == 2)
cluster.scale(jobs=0)
are("0")
# Workers that the nodes do not offer.
cluster.scale(3, job=JOB | {"nodes": 2, "options": ["--nworkers", "1"]})
are("0", "j4.0", "j4.1")
print(names())
"""
    assert attached(code) == ("['0', 'j4.0', 'j4.1']\n", "")


def test_jobs_whose_workers_run_nothing_leave_first(
    attached: Callable[..., tuple[str, str]],
) -> None:
    code = """
cluster.scale(jobs=1, job=JOB)
are("0", "j1.0")
cluster.scale(jobs=2)
are("0", "j1.0", "j2.0")
long = client.submit(time.sleep, 3, workers="j2.0")
until(lambda: any(client.processing().values()))
cluster.scale(jobs=1)
are("0", "j2.0")
print(long.result())
"""
    assert attached(code) == ("None\n", "")


def test_it_adapts_to_its_tasks_with_jobs(
    attached: Callable[..., tuple[str, str]],
) -> None:
    code = """
adaptive = cluster.adapt(
    maximum_jobs=2, job=JOB, interval="100ms", target_duration="500ms"
)
tasks = client.map(lambda i: time.sleep(0.1), range(300), pure=False)
are("0", "j1.0", "j2.0")
# One that works stays, and so does its job. It works before the others are done: from
# then on all idle jobs may leave.
go = Event("go")
long = client.submit(lambda: Event("go").wait(), workers="j1.0")
client.gather(tasks)
are("0", "j1.0")
print(long.done())
go.set()
long.result()
del tasks, long
are("0")
adaptive.stop()
until(lambda: queued(THERE) == [cluster._attachment.named.job_id])
"""
    assert attached(code) == ("False\n", "")


def test_jobs_that_wait_are_known_to_all_and_end_with_the_cluster(
    attached: Callable[..., tuple[str, str]],
) -> None:
    code = """
cluster.scale(jobs=4, job=WAITS)
first = queued()
cluster.scale(jobs=3)
print(queued() == first[:3])
# Cancelled by hand, by whoever.
subprocess.run(["scancel", first[0]], check=True)
until(lambda: len(queued()) == 2)
cluster.scale(jobs=3)
print(queued()[:2] == first[1:3], len(queued()))
again = Cluster.from_name("lab")
again.scale(jobs=1, job=WAITS)
print(queued() == first[1:2])
cluster.scale(jobs=2)
again.close()
print(len(queued()))
cluster.shutdown()
until(lambda: queued() == [])
"""
    out, said = attached(code, ends=True)
    assert out == "True\nTrue 3\nTrue\n2\n"
    assert [line.partition(" has ")[2] for line in said.splitlines()] == [
        "ended, and no rank of it has joined the cluster 'lab'"
    ]


def test_a_job_that_is_queued_again_is_waited_for(
    attached: Callable[..., tuple[str, str]],
) -> None:
    code = """
cluster.scale(jobs=1, job=JOB)
are("0", "j1.0")
(own, job) = sorted(queued("RUNNING"), key=int)
subprocess.run(["scontrol", "requeue", job], check=True)
are("0")
cluster.scale(jobs=1)
print({*queued(THERE)} == {own, job})
# Slurm cancels no job that has not left its nodes yet.
until(lambda: job in queued())
cluster.shutdown()
"""
    assert attached(code, ends=True) == ("True\n", "")


def test_no_more_are_submitted_where_none_joins(
    attached: Callable[..., tuple[str, str]],
) -> None:
    code = """
import dask_runner.library.scaling
dask_runner.library.scaling.LOOK_SECONDS = 1
cluster.adapt(minimum_jobs=1, maximum_jobs=1, job=NEVER, interval="100ms")
try:
    until(lambda: cluster._adaptive._job_bounds is None)
    until(lambda: queued(THERE) == [cluster._attachment.named.job_id])
    print(names())
finally:
    cluster._adaptive.stop()
"""
    out, said = attached(code)
    assert out == "['0']\n"
    assert said.count("and no rank of it has joined the cluster 'lab'") == 3
    assert said.count("dask-runner: error: the last 3 jobs have ended") == 1
    assert said.rstrip().endswith("no more jobs are submitted, until adapt() is called")


def test_what_cannot_be_submitted_is_told_in_three_parts(
    attached: Callable[..., tuple[str, str]],
) -> None:
    code = """
for given in (
    {"jobs": 1, "job": JOB | {"partition": "nosuch"}},
    {"jobs": 1, "job": JOB | {"nodes": "many"}},
    {"jobs": 1, "job": JOB | {"nosuch": 1}},
    {"jobs": 1, "job": {}},
    {"jobs": 1, "job": JOB | {"system": "oar"}},
    {"jobs": -1, "job": JOB},
):
    try:
        cluster.scale(**given)
    except RunnerError as error:
        print(error.status, error.saw.splitlines()[0])
until(lambda: len(queued(THERE)) == 1)
print(names())
"""
    out, said = attached(code)
    assert said == ""
    assert out.splitlines() == [
        "75 sbatch ended with status 1",
        "2 --nodes (-N) = 'many'",
        "2 --set nosuch: the template of Slurm does not use it",
        "78 the template of Slurm needs image, which has no value",
        "2 jobs of OAR, which a program cannot follow by number",
        "2 -1 jobs",
        "['0']",
    ]


def test_in_the_image_no_command_submits(jobs: Jobs) -> None:
    serving = serve(jobs, "-N1 -n1")
    code = """
from dask_runner import Cluster
try:
    Cluster.from_name("lab").scale(jobs=1)
except Exception as error:
    print(error.status, error.saw)
"""
    jobs.write("program.py", code)
    out, _ = image(jobs, "connect", "lab", "program.py")
    assert out == "78 no command that submits jobs is on the PATH here\n"
    image(jobs, "stop", "lab")
    assert serving.wait().returncode == 0


def test_a_job_that_was_submitted_by_a_program_that_is_killed_is_not_lost(
    attached: Callable[..., tuple[str, str]],
) -> None:
    killed = shlex.quote(
        f"{BEGIN}\ncluster.scale(jobs=1, job=WAITS)\nimport os; os.kill(os.getpid(), 9)"
    )
    code = f"""
done = subprocess.run(f"exec {{sys.executable}} -c " + {killed!r}, shell=True)
print(done.returncode, len(queued()))
cluster.scale(jobs=1, job=WAITS)
print(len(queued()))
cluster.scale(jobs=0)
print(queued())
"""
    assert attached(code) == ("-9 1\n1\n[]\n", "")


def test_a_job_that_is_submitted_while_the_cluster_ends_is_cancelled(
    attached: Callable[..., tuple[str, str]],
) -> None:
    code = """
from dask_runner.batch.queue import JobQueue
submit = JobQueue.submit
def submit_and_stop(self):
    number = submit(self)
    stop = [sys.executable, "-m", "dask_runner", "stop", "lab"]
    subprocess.run(stop, check=True, capture_output=True)
    return number
JobQueue.submit = submit_and_stop
try:
    cluster.scale(jobs=2, job=WAITS)
except RunnerError as error:
    print(error.status)
until(lambda: queued(THERE) == [])
"""
    out, said = attached(code, ends=True)
    assert out == "69\n"
    assert said.startswith("dask-runner: the cluster 'lab' has ended\n")
