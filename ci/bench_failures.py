"""The failures that our peers can express, side by side: theirs and ours.

::

    ci/bench_failures [--cap 40] [--name CLUSTER] [-k WORD]

plays cells of ``tests/failures`` on the Slurm cluster in containers, with
dask-jobqueue's ``SLURMRunner``, dask-mpi's ``initialize`` and ``execute``, and
with us, each in its image and by the same ``srun -N2 -n4``. Prints a table in
Markdown, and writes ``build/bench-failures.jsonl``.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ci.slurm_cluster import HOME, Cluster
from tests.cluster.jobs import SIF, Jobs
from tests.failures.matrix import Cell
from tests.failures.play import NotReachedError, reach, strike
from tests.failures.stages import OnTheCluster

if TYPE_CHECKING:
    from collections.abc import Sequence

RESULTS = Path("build") / "bench-failures.jsonl"
PEERS = "/images/peers.sif"

#: Each by its name in the table, its way in and its image.
CONTENDERS = (
    ("SLURMRunner", "jobqueue", PEERS),
    ("dask-mpi initialize", "daskmpi", PEERS),
    ("dask-mpi execute", "execute", PEERS),
    ("dask-runner", "cli", SIF),
)

#: What happens, to whom and when; and what the row is called.
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
    """What one contender did in one row."""

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


def compare(cluster: Cluster, cap: float, word: str) -> list[Measured]:
    """Play all rows with all contenders, one after the other."""
    found = []
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("w") as file:
        for title, cause, who, when in ROWS:
            for name, way, image in CONTENDERS:
                if word not in f"{title} {name}":
                    continue
                cell = Cell(cause, who, when, "srun", "dedicated", way)
                try:
                    seconds, status, out, lines = measure(cluster, cell, image, cap)
                except NotReachedError as error:
                    print(f"{title}, {name}: {error}", file=sys.stderr)  # noqa: T201
                    continue
                one = Measured(
                    title,
                    name,
                    status is not None,
                    round(seconds, 2),
                    status,
                    "56" in out.split(),
                    lines,
                )
                file.write(json.dumps(asdict(one)) + "\n")
                file.flush()
                found.append(one)
    return found


def table(found: Sequence[Measured]) -> str:
    """Write it in Markdown."""
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
    """Compare, and print."""
    parser = argparse.ArgumentParser(prog="ci/bench_failures", description=__doc__)
    parser.add_argument("--cap", type=float, default=40, help="seconds for an end")
    parser.add_argument("--name", default="bench-failures", help="of the cluster")
    parser.add_argument("-k", dest="word", default="", help="rows with this word")
    args = parser.parse_args(argv)
    cluster = Cluster(args.name)
    was_up = bool(cluster.members())
    cluster.up()
    try:
        print(table(compare(cluster, args.cap, args.word)))  # noqa: T201
    finally:
        if not was_up:
            cluster.down()
    return 0


if __name__ == "__main__":
    sys.exit(main())
