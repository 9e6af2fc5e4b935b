"""Programs on the login node attach to a cluster on two nodes, and change its size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cluster.jobs import SIF, told

if TYPE_CHECKING:
    from tests.cluster.jobs import Jobs

BEGIN = """\
import os, socket, time
from collections import Counter
from distributed import Client
from dask_runner import Cluster

def until(reached):
    latest = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < latest
        time.sleep(0.01)

cluster = Cluster.from_name("lab")
client = Client(cluster)
workers = lambda: cluster.scheduler_info["workers"].values()
hosts = lambda: sorted(Counter(client.run(socket.gethostname).values()).items())
"""

SCALE = f"""{BEGIN}
data = client.map(lambda i: b"x" * 100_000 + bytes([i]), range(20))
client.gather(data[:1])
for number in (1, 4, 2, 3, 4):
    cluster.scale(number)
    until(lambda: len(workers()) == number)
    print(number, hosts())
assert [one[-1] for one in client.gather(data)] == list(range(20))
"""

ADAPT = f"""{BEGIN}
adaptive = cluster.adapt(interval="100ms", target_duration="500ms")
until(lambda: len(workers()) == 1)
futures = client.map(lambda i: time.sleep(0.05), range(400), pure=False)
until(lambda: len(workers()) == 4)
client.gather(futures)
del futures
until(lambda: len(workers()) == 1)
print(adaptive.minimum, adaptive.maximum)
"""

#: Waits for a task, and prints what it gets when the cluster is lost.
WAIT = f"""{BEGIN}
future = client.submit(time.sleep, 600)
print("waiting", flush=True)
try:
    future.result()
except BaseException as error:
    print(type(error).__name__)
until(lambda: cluster.status.name == "closed")
"""

SHUTDOWN = f"{BEGIN}cluster.shutdown()"


def attached(jobs: Jobs, code: str) -> str:
    jobs.write("program.py", code)
    done = jobs.start("apptainer", "exec", SIF, "python", "program.py").running.wait()
    assert done.returncode == 0, told(done)
    return done.stdout


def test_its_workers_are_spread_over_the_nodes_whatever_their_number(
    jobs: Jobs,
) -> None:
    job = jobs.srun("-N2 --ntasks-per-node=2", "serve", "--name", "lab")
    job.wait_for("ready after")

    lines = attached(jobs, SCALE).splitlines()
    assert lines[0] in {"1 [('c1', 1)]", "1 [('c2', 1)]"}
    assert lines[1:3] == ["4 [('c1', 2), ('c2', 2)]", "2 [('c1', 1), ('c2', 1)]"]
    assert lines[4] == lines[1]

    assert attached(jobs, ADAPT) == "1 4\n"
    attached(jobs, SHUTDOWN)
    done = job.wait()
    assert done.returncode == 0, told(done)
    assert "lost" not in done.stderr


@pytest.mark.parametrize("victim", ["dask-scheduler", "dask-runner"])
def test_an_attached_program_elsewhere_knows_that_its_cluster_is_lost(
    jobs: Jobs, victim: str
) -> None:
    job = jobs.srun("-N2 -n2", "serve", "--name", "lab")
    job.wait_for("ready after")
    jobs.write("program.py", WAIT)
    program = jobs.start("apptainer", "exec", SIF, "python", "program.py")
    program.wait_for("waiting")
    kill = ["pkill", "-KILL", "-o", "-x", victim]
    assert jobs.cluster.run(kill, node="c1", user="user").returncode == 0
    done = program.running.wait()
    assert done.returncode == 0, told(done)
    assert done.stdout == "waiting\nFutureCancelledError\n"
    assert "dask-runner: the cluster 'lab' " in done.stderr
    job.running.wait()
