"""Nodes that have addresses of IPv6 alone, as two ranks in a network without others."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.running import DASK_RUNNER, Run

if TYPE_CHECKING:
    from tests.conftest import Require

#: Two ends of a cable: what they carry is of no account, only that they have addresses.
NETWORK = """\
ip link set lo up &&
ip link add here type veth peer name there &&
ip link set here up && ip link set there up &&
"""
ADDRESS = "ip -6 addr add fd00:77::5/64 dev here nodad &&"

JOB = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
    "SLURM_LOCALID": "0",
}

CODE = """\
from distributed import Client
with Client() as client:
    print(client.submit(sum, [1, 2]).result(), client.scheduler.address[:15])
"""


@pytest.fixture
def network(require: Require) -> None:
    """A network can be made that has nothing in it."""
    with require("leave to make a network, and ip (iproute2)", "local"):
        line = ["unshare", "-n", "sh", "-c", f"{NETWORK}{ADDRESS}:"]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(done.stderr)


def job(address: str, *ranks: int) -> tuple[str, ...]:
    """Return the command of a job of two nodes; it ends as its last rank does."""
    of = "SLURM_NODEID={0} SLURM_PROCID={0} timeout 60 {1} -c '{2}'"
    lines = " & ".join(of.format(rank, DASK_RUNNER, CODE) for rank in ranks)
    return ("unshare", "-n", "sh", "-c", f"{NETWORK}{address}: && {{ {lines}; }}")


@pytest.mark.usefixtures("network")
def test_a_cluster_of_nodes_with_ipv6_alone() -> None:
    with Run(job(ADDRESS, 1, 0), env=JOB) as run:
        ended = run.wait()
    assert ended.status == 0, ended
    assert ended.stdout == "3 tls://[fd00:77:\n", ended


@pytest.mark.usefixtures("network")
def test_a_node_that_others_cannot_reach_says_so_at_once() -> None:
    with Run(job("", 1, 0), env=JOB) as run:
        ended = run.wait()
    assert ended.status == 78, ended
    assert "has no address but its loopback's" in ended.stderr
