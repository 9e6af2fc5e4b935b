"""Play the failures that can also happen to our peers, with them and with us.

::

    ci/bench_failures [--cap 40] [--name CLUSTER] [-k PATTERN]

plays cells of ``tests/failures`` on the Slurm cluster in containers, with
dask-jobqueue's ``SLURMRunner``, dask-mpi's ``initialize`` and ``execute``, and
with us, each in its image and by the same ``srun -N2 -n4``. Prints a table in
Markdown, and writes ``build/bench-failures.jsonl``.
"""

from __future__ import annotations

import argparse
import json
import re
import secrets
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from ci.slurm.cluster import HOME, Cluster
from containers.entry import ROOT
from tests.cluster.jobs import SIF, Jobs
from tests.failures.cell import Cell
from tests.failures.on_the_cluster import OnTheCluster
from tests.failures.play import NotReachedError, reach, strike

if TYPE_CHECKING:
    from collections.abc import Sequence

RESULTS = ROOT / "build" / "bench-failures.jsonl"
PEERS = "/images/peers.sif"

#: Name in the table, way into a cluster, image.
CONTENDERS = (
    ("SLURMRunner", "jobqueue", PEERS),
    ("dask-mpi initialize", "daskmpi", PEERS),
    ("dask-mpi execute", "execute", PEERS),
    ("dask-runner", "cli", SIF),
)

#: Title of the row, what happens, to which process, and when.
ROWS = (
    ("the script returns", "return", "script", "running"),
    ("the script raises", "raise", "script", "running"),
    ("sys.exit(3)", "exit3", "script", "running"),
    ("os._exit(4)", "_exit4", "script", "running"),
    ("os.abort()", "abort", "script", "running"),
    ("SIGINT to the script", "sigint", "script", "running"),
    ("SIGTERM to the script", "sigterm", "script", "running"),
    ("the script is killed", "sigkill", "script", "running"),
    ("the script fails before it joins", "raise", "script", "before"),
    ("the scheduler is killed", "sigkill", "scheduler", "running"),
    ("a worker is killed", "sigkill", "worker", "running"),
    ("scancel", "sigterm", "launcher", "running"),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """How a contender's job ended in one row."""

    row: str
    contender: str
    ends: bool
    seconds: float
    status: int | None
    result: bool
    lines: int

    def __str__(self) -> str:
        if not self.ends:
            return f"no ({self.seconds:.0f} s)"
        result = ", with its result" if self.result else ""
        return f"{self.seconds:.1f} s, {self.status}{result}"


def measure(
    cluster: Cluster, cell: Cell, image: str, cap: float
) -> tuple[float, int | None, str, int]:
    """Play a cell; return seconds, status, stdout and lines on stderr."""
    jobs = Jobs(cluster, f"{HOME}/{secrets.token_hex(4)}")
    stage = OnTheCluster(cell, jobs, image)
    try:
        reach(cell, stage)
        strike(cell, stage)
        began = time.monotonic()
        if cell.who == "worker" or cell.when == "before":
            stage.tell("go")
        ended = stage.wait(cap)
    finally:
        stage.discard()
        jobs.discard()
    lines = len(ended.stderr.splitlines())
    return ended.at - began, ended.status, ended.stdout, lines


def compare(cluster: Cluster, cap: float, pattern: str) -> list[Measured]:
    """Play the rows and contenders that match, one after the other.

    Earlier results of other rows and contenders are kept.
    """
    found = {(one.row, one.contender): one for one in _measured_before()}
    for title, cause, who, when in ROWS:
        for name, way, image in CONTENDERS:
            if not re.search(pattern, f"{title} {name}"):
                continue
            cell = Cell(cause, who, when, "srun", "dedicated", way)
            try:
                seconds, status, out, lines = measure(cluster, cell, image, cap)
            except NotReachedError as error:
                print(f"{title}, {name}: {error}", file=sys.stderr)  # noqa: T201
                continue
            ends, result = status is not None, "56" in out.split()
            one = Measured(title, name, ends, round(seconds, 2), status, result, lines)
            found[title, name] = one
            text = "".join(json.dumps(asdict(x)) + "\n" for x in found.values())
            RESULTS.write_text(text)
    return list(found.values())


def _measured_before() -> list[Measured]:
    RESULTS.parent.mkdir(exist_ok=True)
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    return [Measured(**json.loads(line)) for line in lines]


def table(found: Sequence[Measured]) -> str:
    """Return the results as a table in Markdown."""
    names = [name for name, *_ in CONTENDERS]
    lines = [
        "| | " + " | ".join(names) + " |",
        "|---" * (1 + len(names)) + "|",
    ]
    for title, *_ in ROWS:
        cells = {one.contender: str(one) for one in found if one.row == title}
        if cells:
            lines.append(
                f"| {title} | " + " | ".join(cells.get(n, "?") for n in names) + " |"
            )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Play the failures, and print the table."""
    parser = argparse.ArgumentParser(prog="ci/bench_failures", description=__doc__)
    parser.add_argument("--cap", type=float, default=40, help="seconds for an end")
    parser.add_argument("--name", default="bench-failures", help="of the cluster")
    parser.add_argument("-k", dest="pattern", default="", help="which rows, of whom")
    args = parser.parse_args(argv)
    cluster = Cluster(args.name)
    was_up = bool(cluster.members())
    cluster.up()
    try:
        print(table(compare(cluster, args.cap, args.pattern)))  # noqa: T201
    finally:
        if not was_up:
            cluster.down()
    return 0


if __name__ == "__main__":
    sys.exit(main())
