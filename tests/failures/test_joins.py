"""A cluster and a join of it, when a part of either is lost."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.jobs import SIF, told
from tests.failures import blows
from tests.failures.conftest import heavy_but, place_on
from tests.failures.test_serving import USES
from tests.waiting import until

if TYPE_CHECKING:
    from tests.cluster.jobs import Job, Jobs

#: Seconds until all have ended: a lost node is noticed after --silence.
SECONDS = 60.0
SILENCE = 6


@dataclass(frozen=True)
class Strike:
    """What happens to which part, and what is left of the cluster and the join.

    Attributes
    ----------
    part : str
        A part as in ``parts.py``, or "node" or "network".
    of : str
        "cluster" on node c1, or "join" on c2.
    how : str
        A signal, or what is done to a node.
    when : str
        "running", or "leaving": its workers are being retired.
    served, joined : set of int or None
        Their statuses; None if it goes on.
    at_last : set of int
        The statuses of a join that goes on, at the end of the cluster.
    """

    part: str
    of: str
    how: str = "KILL"
    when: str = "running"
    served: frozenset[int] | None = None
    joined: frozenset[int] | None = None
    at_last: frozenset[int] = frozenset({0})

    def __str__(self) -> str:
        return f"{self.part} of the {self.of} {self.how} {self.when}"


LOST = frozenset({69})
#: Of a rank that was killed, and of those whose leader it was.
KILLED = frozenset({137, 69})
LEFT = frozenset({0})
STOPPED = frozenset({143})

STRIKES = (
    Strike("worker", "join"),
    Strike("worker", "join", "SEGV"),
    Strike("forkserver", "join"),
    Strike("tracker", "join"),
    Strike("agent", "join", joined=frozenset({0, 69})),
    Strike("top", "join", joined=KILLED),
    Strike("top", "join", "STOP", joined=KILLED),
    Strike("top", "join", "TERM", joined=LEFT),
    # srun's own status is that of the worst of its tasks.
    Strike("follower", "join", at_last=frozenset({137})),
    Strike("node", "join", "kill", joined=frozenset({137, 1, 255, 127})),
    Strike("network", "join", "cut", joined=frozenset({69, 137, 1})),
    Strike("scheduler", "cluster", served=LOST, joined=LEFT),
    Strike("top", "cluster", served=KILLED, joined=LOST),
    Strike("top", "cluster", "TERM", served=STOPPED, joined=LEFT),
    Strike("worker", "join", when="leaving", joined=LEFT),
    Strike("agent", "join", when="leaving", joined=frozenset({0, 69})),
    Strike("top", "join", when="leaving", joined=KILLED),
    Strike("top", "join", "TERM", when="leaving", joined=frozenset({0, 143})),
    Strike("scheduler", "cluster", when="leaving", served=LOST, joined=LEFT),
    Strike("top", "cluster", when="leaving", served=KILLED, joined=LOST),
)

#: What CI plays.
USUAL = frozenset(
    {
        "worker of the join KILL running",
        "agent of the join KILL running",
        "top of the join KILL running",
        "top of the cluster KILL running",
        "worker of the join KILL leaving",
        "top of the join KILL leaving",
        "scheduler of the cluster KILL leaving",
    }
)

#: Keeps each worker of the join busy for longer than it may take to leave.
HOLDS = """\
import time
from distributed import Client, fire_and_forget
client = Client()
fire_and_forget(client.map(time.sleep, [600, 600], workers=["j1.0", "j1.1"]))
time.sleep(1)
"""


class Stage:
    """A served cluster on one node, a join on another, and a program that uses them."""

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs
        self._marks = {of: f"CELL={of} {jobs.directory}" for of in ("cluster", "join")}
        self.served = self._start(
            "cluster", "-w c1 -n1", "serve", "--name", "lab", "--silence", str(SILENCE)
        )
        self.served.wait_for("ready after")
        self.joined = self._start(
            *("join", "-w c2 -n2", "join", "lab", "--silence", str(SILENCE)),
            *("--grace", "5"),
        )
        self.joined.wait_for("joined the cluster")
        until(lambda: self.workers() == 3, SECONDS, lambda: self.output(self.served))
        self.used = self.run("uses.py", USES)
        self.used.wait_for("result 3\n")

    def _start(self, of: str, options: str, *args: str) -> Job:
        env = dict([self._marks[of].split("=", 1)])
        return self.jobs.srun(f"-N1 --no-kill {options}", *args, env=env)

    def run(self, name: str, code: str) -> Job:
        """Start a program with the cluster."""
        self.jobs.write(name, code)
        return self.jobs.start("apptainer", "run", SIF, "connect", "lab", name)

    def listed(self) -> list[dict[str, Any]]:
        done = self.jobs.start("apptainer", "run", SIF, "list", "--json").running.wait()
        found: list[dict[str, Any]] = json.loads(done.stdout)["clusters"]
        return found

    def workers(self) -> int:
        (found,) = self.listed()
        return int(found["workers"])

    def leaves(self) -> None:
        """Have the join leave, with tasks that it does not finish."""
        done = self.run("holds.py", HOLDS).running.wait()
        assert done.returncode == 0, told(done)
        self.jobs.start("apptainer", "run", SIF, "stop", "lab", "--join", "j1")
        self.served.wait_for("join j1 leaves")

    def strike(self, strike: Strike) -> None:
        """Let it happen."""
        where = {"cluster": "c1", "join": "c2"}[strike.of]
        mark = self._marks[strike.of]
        blows.strike(self.jobs, mark, strike.part, where, strike.how)

    def results(self) -> int:
        """Return how many results the program has had."""
        return len(re.findall(r"^result ", self.used.running.stdout, re.MULTILINE))

    def status(self, job: Job) -> int:
        """Wait for the end of one; return its status."""
        until(lambda: not job.running.running, SECONDS, lambda: self.output(job))
        return job.running.wait().returncode

    def output(self, job: Job) -> str:
        return job.running.stdout + job.running.stderr

    def stop(self) -> None:
        done = self.jobs.start("apptainer", "run", SIF, "stop", "lab").running.wait()
        assert done.returncode == 0, told(done)


@pytest.mark.parametrize("strike", heavy_but(USUAL, STRIKES))
def test_each_ends_in_time_with_the_true_cause_or_goes_on(
    strike: Strike, cluster: Any
) -> None:
    with place_on(cluster) as jobs:
        stage = Stage(jobs)
        try:
            if strike.when == "leaving":
                stage.leaves()
            stage.strike(strike)
            if strike.served is None:
                more = stage.results() + 10
                until(
                    lambda: stage.results() >= more,
                    SECONDS,
                    lambda: stage.output(stage.served),
                )
                jobs.write("go", "")
                assert stage.status(stage.used) == 0, stage.output(stage.used)
            if strike.joined is not None:
                joined = stage.status(stage.joined)
                assert joined in strike.joined, stage.output(stage.joined)
            if strike.served is None:
                stage.stop()
                assert stage.status(stage.served) == 0, stage.output(stage.served)
                assert "ended with status 0" in stage.output(stage.served)
            else:
                served = stage.status(stage.served)
                assert served in strike.served, stage.output(stage.served)
            if strike.joined is None:
                joined = stage.status(stage.joined)
                assert joined in strike.at_last, stage.output(stage.joined)
            for job in (stage.served, stage.joined):
                assert "Traceback" not in stage.output(job)
        finally:
            if strike.how in {"kill", "cut"}:
                jobs.cluster.node("c2").restore()
        assert stage.listed() == []
