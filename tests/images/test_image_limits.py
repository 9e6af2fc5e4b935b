"""Containers with limits: what the cluster in them takes for its own."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

MIB = 2**20

LOOK = """
import json, os
from dask.distributed import Client

def killed():
    "How often the kernel has killed for memory in this container."
    for name in ("memory.events", "memory/memory.oom_control"):
        try:
            lines = open(f"/sys/fs/cgroup/{name}").read().splitlines()
        except FileNotFoundError:
            continue
        return int(dict(line.split() for line in lines)["oom_kill"])

client = Client()
info = client.scheduler_info(n_workers=-1)["workers"]
"""

TELL = """
masks = client.run(lambda: sorted(os.sched_getaffinity(0)))
print(json.dumps([
    [worker["nthreads"], worker["memory_limit"], masks[address]]
    for address, worker in info.items()
]))
"""

MINE = sorted(os.sched_getaffinity(0))


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize(
    ("limits", "cpus", "memory"),
    [
        ({"mem_limit": 1000 * MIB}, len(MINE), 1000 * MIB),
        ({"nano_cpus": 1_000_000_000}, 1, None),
        ({"cpuset_cpus": str(MINE[-1])}, 1, None),
        ({"nano_cpus": 1_500_000_000, "mem_limit": 1500 * MIB}, 1, 1500 * MIB),
    ],
    ids=["--memory", "--cpus", "--cpuset-cpus", "--cpus and --memory"],
)
def test_workers_have_together_what_the_container_was_given(
    contained: Any,
    limits: dict[str, Any],
    cpus: int,
    memory: int | None,
    ranks: int,
) -> None:
    ended = contained.run("-n", str(ranks), "-c", LOOK + TELL, **limits)
    assert (ended.status, ended.foreign) == (0, []), ended
    workers = json.loads(ended.stdout)
    assert len(workers) == ranks
    # Each has one thread at least, and where that is more, it is said.
    assert sum(threads for threads, _, _ in workers) <= max(cpus, ranks)
    assert (ranks > cpus) == ("more ranks than CPUs" in ended.stderr), ended
    if memory is not None:
        limit = sum(limit for _, limit, _ in workers)
        assert memory // 4 < limit <= memory
    if numbers := limits.get("cpuset_cpus"):
        assert {tuple(mask) for _, _, mask in workers} == {(int(numbers),)}


SPILL = """
from dask.distributed import wait

def piece(number):
    return os.urandom(20 * 2**20)

limit = sum(worker["memory_limit"] for worker in info.values())
pieces = client.map(piece, range(limit // (16 * 2**20)))
wait(pieces)
spilled = client.run(lambda dask_worker: dask_worker.data.spilled_total.disk)
sizes = client.gather(client.map(len, pieces))
alive = len(client.run(os.getpid))
print(sum(spilled.values()) > 0, sum(sizes) > limit, alive, killed())
"""


def test_a_worker_spills_what_is_more_than_its_memory(contained: Any) -> None:
    ended = contained.run("-n", "1", "-c", LOOK + SPILL, mem_limit=1000 * MIB)
    # Nobody was killed: one line less would be a worker that was restarted.
    assert (ended.status, ended.stdout) == (0, "True True 1 0\n"), ended
    assert "warning" not in ended.stderr


GROW = """
import time

def grow():
    held = []
    while True:
        held.append(bytearray(os.urandom(2**20) * 8))
        time.sleep(0.02)

try:
    client.submit(grow).result()
except Exception as error:
    print(type(error).__name__, killed())
# What is told of a worker comes after the scheduler's word that it is gone.
client.wait_for_workers(1)
"""


def test_a_worker_that_takes_too_much_is_restarted_before_the_kernel_kills_it(
    contained: Any,
) -> None:
    ended = contained.run(
        *("-n", "1", "-c", LOOK + GROW),
        mem_limit=1000 * MIB,
        environment={"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"},
    )
    assert (ended.status, ended.stdout) == (0, "KilledWorker 0\n"), ended
    assert ended.stderr.count("it is started again") == 1
    assert ended.stderr.count("you can: give it more memory") == 1
    assert ended.foreign == []
