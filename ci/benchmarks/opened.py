"""Measure what a running cluster takes: to attach to it, and to join it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ci.benchmarks.contenders import JOBS, OURS, Contender
from ci.benchmarks.runs import clear, measure

if TYPE_CHECKING:
    from ci.slurm.cluster import Cluster

RANKS, JOINING = 4, 2
#: One node alone, as large as the join.
NODE = Contender(
    "dask-runner on one node",
    "ranks",
    f"srun -N1 -n{{ranks}} apptainer run {OURS} --nthreads 1 {JOBS}/default_client.py",
)
SERVE = (
    f"salloc -Q -N2 -n{RANKS} --overcommit --mem=4G "
    f"srun apptainer run {OURS} serve --name bench --nthreads 1"
)
ATTACH = f"apptainer exec {OURS} python {JOBS}/attach.py {RANKS + JOINING}"
JOIN = (
    f"salloc -Q -N1 -n{JOINING} --overcommit --mem=4G bash -c '"
    "echo began $(date +%s.%N) && "
    f"exec srun apptainer run {OURS} join bench --nthreads 1'"
)


def opened(cluster: Cluster, deadline: float) -> dict[str, float | None]:
    """Measure both once, and the start of one node.

    Parameters
    ----------
    cluster : Cluster
        A cluster of two nodes, with the programs of the benchmark.
    deadline : float
        Seconds for each step.

    Returns
    -------
    dict
        Seconds. ``attach``: from a Python that has imported Dask until a task's
        result. ``join``: from srun to the workers of its ranks in the scheduler.
        ``node``: from srun to all workers of a cluster of so many ranks on one node;
        None if it failed.
    """
    node = measure(cluster, NODE, JOINING, deadline).ready
    served = cluster.start(SERVE, timeout=4 * deadline)
    try:
        served.wait_for("ready after", deadline)
        attached = cluster.start(ATTACH, timeout=2 * deadline)
        attached.wait_for("attached ", deadline)
        joining = cluster.start(JOIN, timeout=2 * deadline)
        attached.wait()
    finally:
        clear(cluster)
    served.wait()
    joining.wait()
    return {
        "node": node,
        "attach": _number(attached.stdout, "attached"),
        "join": _number(attached.stdout, "joined") - _number(joining.stdout, "began"),
    }


def _number(text: str, word: str) -> float:
    """Return the number after a word at the beginning of a line."""
    lines = (line.split() for line in text.splitlines())
    return next(float(found[1]) for found in lines if found[:1] == [word])
