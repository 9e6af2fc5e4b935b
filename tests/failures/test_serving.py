"""A served cluster and a program attached to it, when a part of either is lost."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.jobs import SIF, told
from tests.failures import blows
from tests.failures.conftest import heavy_but, place_on
from tests.waiting import until

if TYPE_CHECKING:
    from tests.cluster.jobs import Job, Jobs

#: Computes, again and again, until there is a file.
USES = """\
import os, time
from distributed import Client
client = Client()
for number in range(10**9):
    assert client.submit(sum, [number, 1], pure=False).result() == number + 1
    print(f"result {number}", flush=True)
    if os.path.exists("go"):
        break
    time.sleep(0.2)
"""

#: Seconds until both have ended: a lost node is noticed after --silence.
SECONDS = 60.0
SILENCE = 6


@dataclass(frozen=True)
class Strike:
    """What happens to which part, and what is left of the cluster and its program.

    Attributes
    ----------
    part, node : str
        A part as in ``parts.py``, or "node" or "network"; and where it is.
    how : str
        A signal, or what is done to a node.
    served, used : int or None
        The statuses of the cluster and of the program; None if it goes on.
    """

    part: str
    node: str
    how: str = "KILL"
    served: frozenset[int] | None = None
    used: int | None = None

    def __str__(self) -> str:
        return f"{self.part} {self.node} {self.how}"


LOST = frozenset({69})
KILLED = frozenset({137, 69})

STRIKES = (
    Strike("worker", "c2"),
    Strike("worker", "c2", "SEGV"),
    Strike("agent", "c2"),
    Strike("top", "c2"),
    Strike("node", "c2", "kill"),
    Strike("network", "c2", "cut"),
    Strike("client", "login"),
    Strike("scheduler", "c1", served=LOST, used=69),
    Strike("scheduler", "c1", "STOP", served=LOST, used=69),
    Strike("top", "c1", served=KILLED, used=69),
    Strike("top", "c1", "TERM", served=frozenset({143}), used=69),
)

#: What CI plays.
USUAL = frozenset(
    {
        "worker c2 KILL",
        "top c2 KILL",
        "client login KILL",
        "scheduler c1 KILL",
        "top c1 KILL",
    }
)


class Stage:
    """A served cluster on two nodes, and a program on the login node."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs
        self._mark = f"CELL={jobs.directory}"
        serve = ("serve", "--name", "lab", "--silence", str(SILENCE))
        srun = "-N2 -n2 --no-kill"
        self.served = jobs.srun(srun, *serve, env={"CELL": jobs.directory})
        self.served.wait_for("ready after")
        jobs.write("uses.py", USES)
        line = ("apptainer", "run", SIF, "connect", "lab", "uses.py")
        self.used = jobs.start(*line, env={"CELL": jobs.directory})
        self.used.wait_for("result 3\n")

    def strike(self, strike: Strike) -> None:
        """Let it happen."""
        blows.strike(self.jobs, self._mark, strike.part, strike.node, strike.how)

    def results(self) -> int:
        """Return how many results the program has had."""
        return len(re.findall(r"^result ", self.used.running.stdout, re.MULTILINE))

    def status(self, job: Job) -> int:
        """Wait for the end of one of the two; return its status."""
        until(lambda: not job.running.running, SECONDS, lambda: self.output(job))
        return job.running.wait().returncode

    def output(self, job: Job) -> str:
        return job.running.stdout + job.running.stderr


@pytest.mark.parametrize("strike", heavy_but(USUAL, STRIKES))
def test_each_ends_in_time_with_the_true_cause_or_goes_on(
    strike: Strike, cluster: Any
) -> None:
    with place_on(cluster) as jobs:
        stage = Stage(jobs)
        try:
            stage.strike(strike)
            if strike.part == "client":
                assert stage.status(stage.used) == 137
            elif strike.used is None:
                more = stage.results() + 10
                until(
                    lambda: stage.results() >= more,
                    SECONDS,
                    lambda: stage.output(stage.served),
                )
                jobs.write("go", "")
                assert stage.status(stage.used) == 0, stage.output(stage.used)
            else:
                assert stage.status(stage.used) == strike.used
                assert "the cluster 'lab' " in stage.used.running.stderr
                # A traceback may be the program's own, and none of ours.
                assert "site-packages/dask_runner/" not in stage.used.running.stderr
            if strike.served is None:
                line = ("apptainer", "run", SIF, "stop", "lab")
                done = jobs.start(*line).running.wait()
                assert done.returncode == 0, told(done)
                # srun's own status is that of the worst of its tasks.
                stage.status(stage.served)
                assert "ended with status 0" in stage.output(stage.served)
            else:
                assert stage.status(stage.served) in strike.served
            assert "Traceback" not in stage.output(stage.served)
        finally:
            if strike.how in blows.TO_NODES:
                jobs.cluster.node(strike.node).restore()
        listed = jobs.start("apptainer", "run", SIF, "list", "--json").running.wait()
        assert json.loads(listed.stdout)["clusters"] == [], told(listed)
