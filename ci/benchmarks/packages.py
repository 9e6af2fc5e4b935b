"""``ci/packages``: measure how long a job with ``--with`` takes until it is ready.

On two nodes of a Slurm cluster in containers, which is brought up if it is not. The
image alone, the first job and later ones take turns, so that they meet the same load.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from ci.benchmarks import disks
from ci.slurm.cluster import HOME, NAME, Cluster

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

LINE = "srun -N2 --ntasks-per-node=1 apptainer run /images/dask-runner.sif"
WHEELS, CACHE = f"{HOME}/packages-wheels", f"{HOME}/packages-cache"
SECONDS = 300.0

ALONE, FIRST, LATER = "the image alone", "first job", "later jobs"


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds of one start, from the command on.

    Attributes
    ----------
    found : float
        Until the packages were in the cache; 0 without packages.
    ready : float
        Until the cluster was ready.
    """

    found: float
    ready: float


def main(argv: Sequence[str]) -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="ci/packages", description=__doc__)
    parser.add_argument("requirements", nargs="+", help="a row each: --with's value")
    parser.add_argument(
        "--wheels", required=True, help="a directory, as of pip download"
    )
    parser.add_argument("--name", default=NAME, help="which cluster (%(default)s)")
    parser.add_argument("--repeat", type=int, default=5, help="later jobs: %(default)s")
    parser.add_argument("--first", type=int, default=2, help="first jobs: %(default)s")
    parser.add_argument(
        "--disk",
        action="store_true",
        help="give the nodes disks with a journal at /tmp, as root of this machine",
    )
    parser.add_argument("--local-directory", help="another place for scratch files")
    options = parser.parse_args(argv)
    place = ["--local-directory", options.local_directory]
    cluster = Cluster(options.name)
    cluster.up()
    _give(cluster, options.wheels)
    with disks.mounted(cluster) if options.disk else nullcontext():
        found = {
            wanted: measured(
                cluster,
                (*(place if options.local_directory else ()), "--with", wanted),
                options.first,
                options.repeat,
            )
            for wanted in options.requirements
        }
    sys.stdout.write(table(found))
    return 0


def _give(cluster: Cluster, wheels: str) -> None:
    """Copy a directory of wheels into the shared home."""
    cluster.run(["rm", "-rf", WHEELS, CACHE])
    cluster.run(["mkdir", WHEELS])
    packed = subprocess.run(
        ["tar", "-C", wheels, "-c", "."], check=True, stdout=subprocess.PIPE
    ).stdout
    unpacking = cluster.start(["tar", "-C", WHEELS, "-x"], stdin=True)
    unpacking.write(packed)
    unpacking.close_stdin()
    done = unpacking.wait()
    if done.returncode:
        raise OSError(done.stderr)


def measured(
    cluster: Cluster, words: Sequence[str], first: int, later: int
) -> dict[str, list[Start]]:
    """Return the starts of each kind."""
    found: dict[str, list[Start]] = {ALONE: [], FIRST: [], LATER: []}
    for number in range(max(first, later)):
        if number < first:
            cluster.run(["rm", "-rf", CACHE])
            found[FIRST].append(start(cluster, words))
        if number < later:
            found[ALONE].append(start(cluster, ()))
            found[LATER].append(start(cluster, words))
    return found


def start(cluster: Cluster, words: Sequence[str]) -> Start:
    """Run a job that does nothing."""
    env = {
        "UV_FIND_LINKS": WHEELS,
        "UV_NO_INDEX": "1",
        "DASK_RUNNER__PACKAGE_CACHE": CACHE,
    }
    began, there = time.monotonic(), 0.0
    job = cluster.start([*LINE.split(), *words, "-c", "pass"], env=env, timeout=SECONDS)
    if words:
        job.wait_for("beside the image's", SECONDS)
        there = time.monotonic() - began
    job.wait_for("ready after", SECONDS)
    ready = time.monotonic() - began
    done = job.wait()
    if done.returncode:
        raise OSError(done.stderr)
    return Start(there, ready)


def table(found: Mapping[str, Mapping[str, Sequence[Start]]]) -> str:
    """Return the table in Markdown."""
    heads = (ALONE, FIRST, LATER)
    rows = [f"| | {' | '.join(heads)} | of that, from the archive's name to ready |"]
    rows.append("|---|" + "---:|" * (len(heads) + 1))
    for wanted, starts in found.items():
        cells = [_cell(one.ready for one in starts[head]) for head in heads]
        cells.append(_cell(one.ready - one.found for one in starts[LATER]))
        rows.append(f"| `--with {wanted}` | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _cell(seconds: Iterable[float]) -> str:
    """Return the middle, and the least in brackets."""
    found = sorted(seconds)
    return f"{median(found):.1f} ({found[0]:.1f})" if found else "-"
