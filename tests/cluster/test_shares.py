"""What a step of a job has of its node: its workers have no more."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.jobs import SIF, told

if TYPE_CHECKING:
    from containers.commands import Completed
    from tests.cluster.jobs import Jobs

MIB = 2**20

SCRIPT = """\
import json, os
from distributed import Client

client = Client()
workers = client.scheduler_info(n_workers=-1)["workers"]
masks = client.run(lambda: sorted(os.sched_getaffinity(0)))
print(json.dumps({
    str(worker["id"]): [worker["nthreads"], worker["memory_limit"], masks[address]]
    for address, worker in workers.items()
}))
"""


def workers_of(done: Completed) -> dict[str, Any]:
    assert done.returncode == 0, told(done)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("srun", "workers", "cpus", "memory"),
    [
        ("-N1 -n1 -c1 --mem=1000", 1, 1, 1000),
        ("-N1 -n2 -c1 --mem=1000", 2, 2, 1000),
        ("-N1 -n2 -c1 --mem-per-cpu=600", 2, 2, 1200),
    ],
    ids=["a CPU of the node", "two tasks", "memory for each CPU"],
)
def test_a_step_with_less_than_its_node_has_workers_with_less(
    jobs: Jobs, srun: str, workers: int, cpus: int, memory: int
) -> None:
    jobs.write("script.py", SCRIPT)
    found = workers_of(jobs.srun(srun, "script.py").wait())
    assert len(found) == workers
    assert sum(threads for threads, _, _ in found.values()) <= cpus
    limits = sum(limit for _, limit, _ in found.values())
    # An eighth of rank 0's, at least 512 MiB and at most half, is not the workers'.
    assert memory * MIB // 4 < limits <= memory * MIB


def test_workers_of_one_task_have_cpus_of_their_own(jobs: Jobs) -> None:
    jobs.write("script.py", SCRIPT)
    # Two CPUs a task, as a site's cgroups or affinity would give them.
    done = jobs.start(
        *("srun", "-N2", "--ntasks-per-node=1", "-c2", "taskset", "-c", "0,1"),
        *("apptainer", "run", SIF, "--nworkers", "2", "script.py"),
    ).wait()
    found = workers_of(done)
    # Of rank 0's two, scheduler and client have one: too few to bind two workers.
    assert {name: mask for name, (_, _, mask) in found.items()} == {
        "0": [0, 1],
        "0-1": [0, 1],
        "1": [0],
        "1-1": [1],
    }, told(done)
    assert {threads for threads, _, _ in found.values()} == {1}
