"""A job with a spare node, when a part of it is lost: who goes on, with which nodes."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.conftest import NAME
from tests.cluster.jobs import SIF
from tests.failures import blows
from tests.failures.conftest import place_on
from tests.failures.ends import SLURM_GIVES_UP
from tests.programs import BEGIN
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cluster.jobs import Jobs

#: Computes until there is a file, and prints who works whenever that changes.
SCRIPT = f"""{BEGIN}
print("begun", flush=True)
before = None
while not os.path.exists("go"):
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    names = sorted(worker["name"] for worker in workers)
    if names != before:
        print("workers", *names, flush=True)
        before = names
    for future in [client.submit(pow, 2, 10, pure=False) for _ in range(8)]:
        assert future.result() == 1024
    time.sleep(0.1)
"""

#: Keeps the workers of some ranks from coming up, until there is a file.
SLOW = """
import asyncio, os

async def dask_setup(worker):
    while str(worker.name) in os.environ["SLOW"] and not os.path.exists("go"):
        open(f"starts-{worker.name}", "w").close()
        await asyncio.sleep(0.05)
"""

#: Seconds until what has to come has come: a lost node is noticed after --silence.
SECONDS = 60.0
SILENCE = 6


@dataclass(frozen=True)
class Blow:
    """What happens to a part as in ``parts.py``, or to a whole node.

    Attributes
    ----------
    part, node, how : str
    after : str
        What has been printed before, or "starts-2": a file that is there.
    """

    part: str
    node: str
    how: str = "KILL"
    after: str = "begun"


@dataclass(frozen=True)
class Cell:
    """Blows to a job of a rank on each of c1, c2 and c3, where c3 is spare.

    Attributes
    ----------
    blows : tuple of Blow
    lost, last : str
        What is said of a loss, and who works at the end; empty if nobody does.
    ends : str
        The line about the end that rank 0 has left, if there is one.
    slow : str
        The ranks whose workers do not come up.
    """

    name: str
    blows: tuple[Blow, ...]
    lost: str
    last: str = ""
    ends: str = "ended with status 0"
    slow: str = ""


PLACE = "rank 2 on c3 takes the place of rank 1"
FIRST = Blow("top", "c2")

CELLS = (
    Cell("node", (Blow("node", "c2", "kill"),), PLACE, "0 2"),
    Cell("network", (Blow("network", "c2", "cut"),), PLACE, "0 2"),
    Cell("top", (FIRST,), PLACE, "0 2"),
    Cell("agent", (Blow("agent", "c2"),), PLACE, "0 2"),
    Cell("stopped", (Blow("top", "c2", "STOP"),), PLACE, "0 2"),
    Cell("spare-node", (Blow("node", "c3", "kill"),), "lost spare rank 2", "0 1"),
    Cell("spare-top", (Blow("top", "c3"),), "lost spare rank 2", "0 1"),
    Cell("spare-agent", (Blow("agent", "c3"),), "lost spare rank 2", "0 1"),
    Cell("two", (FIRST, Blow("top", "c3", after="workers 0 2")), "lost rank 2", "0"),
    Cell(
        "spare-starts",
        (FIRST, Blow("top", "c3", after="starts-2")),
        "lost rank 2 on c3",
        "0",
        slow="2",
    ),
    Cell(
        "spare-node-starts",
        (FIRST, Blow("node", "c3", "kill", after="starts-2")),
        "lost rank 2 on c3",
        "0",
        slow="2",
    ),
    Cell("joining", (Blow("top", "c2", after="starts-1"),), PLACE, "0 2", slow="1"),
    Cell(
        "node-joining",
        (Blow("node", "c2", "kill", after="starts-1"),),
        PLACE,
        "0 2",
        slow="1",
    ),
    Cell("scheduler", (Blow("scheduler", "c1"),), "the scheduler on c1", ends="69"),
    Cell("rank-0", (Blow("top", "c1"),), "lost the hub (rank 0", ends=""),
)


@pytest.fixture(scope="module")
def nodes(engine: Any, cluster: Any, worker: str) -> Iterator[Any]:
    """Three nodes: one to lose, and one that is spare."""
    del cluster  # its image is there
    from ci.slurm.cluster import Cluster  # noqa: PLC0415  only where containers are

    with Cluster(f"{NAME}{worker}-spare", client=engine, nodes=3) as three:
        yield three


class Stage:
    """A job that has begun."""

    def __init__(self, jobs: Jobs, cell: Cell) -> None:
        self.jobs = jobs
        self._mark = f"CELL={jobs.directory}/{secrets.token_hex(4)}"
        env = {"CELL": self._mark.partition("=")[2], "SLOW": cell.slow}
        jobs.write("script.py", SCRIPT)
        jobs.write("slow.py", SLOW)
        options = ("--spare", "1", "--silence", str(SILENCE), "--preload", "slow.py")
        line = ("srun", "--no-kill", "-X", "-N3", "-n3", "apptainer", "run", SIF)
        self.job = jobs.start(*line, *options, "script.py", env=env)

    def strike(self, blow: Blow) -> None:
        """Let it happen, when it is time."""
        if blow.after.startswith("starts"):
            there = f"test -e {blow.after} && echo yes; true"
            self.until(lambda: "yes" in self.jobs.shell("sh", "-c", there))
        else:
            self.until(lambda: f"{blow.after}\n" in self.output)
        blows.strike(self.jobs, self._mark, blow.part, blow.node, blow.how)

    def until(self, reached: Callable[[], bool], seconds: float = SECONDS) -> None:
        until(reached, seconds, lambda: self.output)

    @property
    def output(self) -> str:
        """All that it has printed."""
        return self.job.running.stdout + self.job.running.stderr

    @property
    def last(self) -> str:
        """Who works, as the script has seen it last."""
        return self.job.running.stdout.rpartition("workers ")[2].partition("\n")[0]


#: The others are played by ``make test-failures``.
USUAL = frozenset({"node", "spare-top", "spare-starts", "two"})


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(
            cell, marks=() if cell.name in USUAL else pytest.mark.heavy, id=cell.name
        )
        for cell in CELLS
    ],
)
def test_a_job_goes_on_with_its_spare_node_or_ends_with_the_cause(
    cell: Cell, nodes: Any
) -> None:
    with place_on(nodes) as jobs:
        stage = Stage(jobs, cell)
        try:
            for blow in cell.blows:
                stage.strike(blow)
            stage.until(lambda: cell.lost in stage.output)
            if cell.last:
                stage.until(lambda: stage.last == cell.last)
                jobs.write("go", "")
            if cell.ends:
                stage.until(lambda: cell.ends in stage.output)
            # A node that is back too soon is one that Slurm waits for.
            over = SLURM_GIVES_UP + SECONDS
            stage.until(lambda: not stage.job.running.running, over)
        finally:
            for blow in cell.blows:
                if blow.how in blows.TO_NODES:
                    nodes.node(blow.node).restore()
        makes = ("go", "starts-0", "starts-1", "starts-2")
        # srun's own status is that of the worst of its tasks.
        # What was on a node without power nobody could remove.
        dead = [blow.node for blow in cell.blows if blow.how == "kill"]
        leaves = "|".join(f"^{node}: /tmp/dask-runner-" for node in dead)
        done = stage.job.wait(stray=".*", makes=makes, leaves=leaves)
        assert "Traceback" not in done.stderr, stage.output
        assert done.stderr.count("takes the place") <= 1, stage.output
