"""``ci/bench``: measure our runs and others', in one go, in one go."""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.util
import json
import os
import sys
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ci.benchmarks.contenders import CONTENDERS, OURS, PEERS, Contender
from ci.benchmarks.opened import opened
from ci.benchmarks.peers import ensure_peers
from ci.benchmarks.plot import draw
from ci.benchmarks.report import table
from ci.benchmarks.runs import home_calls, install, measure
from ci.simulation.hub import simulate
from ci.slurm.cluster import Cluster
from containers.engine import ensure, say
from containers.entry import ROOT
from dask_runner.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import docker

NAME = "bench"
#: Two nodes of so many CPUs have room for 64 ranks, and for the scheduler and client
#: that some programs start in addition.
CPUS = 40
RANKS = "4,8,16,32,64"
WORKERS = "8,16,32,64"
#: Workers between which data is moved.
MOVED = (4,)
#: Ranks that are simulated, and how many of them are on a node.
SIMULATED, A_NODE = 10_000, 64
#: Strace makes everything several times slower.
HOME_CALLS_RANKS = 8
VERSIONS = """\
import sys, json
from importlib.metadata import version, PackageNotFoundError
names = "dask distributed dask-runner dask-jobqueue dask-mpi mpi4py".split()
found = {"Python": sys.version.split()[0]}
for name in names:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def main(argv: Sequence[str]) -> int:
    """Measure; print the table; write table, JSON and picture to files."""
    options = _parser().parse_args(argv)
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError(
            f"this Python ({sys.executable}) has no matplotlib",
            "matplotlib, which draws the picture at the end",
            "make bench, which installs it into .venv",
        )
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "bench.json"
    again = options.add or options.redraw
    results: dict[str, Any] = json.loads(path.read_text()) if again else {}
    if not options.redraw:
        client = ensure()
        with _cluster(client) as cluster:
            # In a folder that CLUSTER_IMAGES names, images are taken as they are.
            if cluster.images == ROOT / "build":
                ensure_peers(client)
            _check_images(cluster)
            before = results
            # Written after each run, so that a later failure loses nothing.
            for new in _measured(cluster, options):
                results = _joined(before, new) if before else new
                path.write_text(json.dumps(results, indent=1) + "\n")
    text = table(results)
    (options.out / "bench.md").write_text(text)
    draw(results, options.out / "bench.png")
    print(text)  # noqa: T201  what the command is for
    say(f"kept in {options.out}: bench.json, bench.md, bench.png")
    return 0


@contextmanager
def _cluster(client: docker.DockerClient) -> Iterator[Cluster]:
    """Bring the cluster up for a while; one that was up already stays up."""
    cluster = Cluster(NAME, cpus=CPUS, client=client)
    if cluster.members():
        cluster.up()
        yield cluster
        return
    with cluster:
        yield cluster


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ci/bench",
        description="Measure dask-runner, dask-jobqueue's SLURMRunner, dask-mpi and "
        "`dask worker` on the Slurm cluster in containers: start, end, and how fast "
        "data moves.",
    )
    parser.add_argument("--ranks", type=_sizes, default=RANKS, help="%(default)s")
    parser.add_argument(
        "--workers",
        type=_sizes,
        default=WORKERS,
        help="of one task a node (%(default)s)",
    )
    parser.add_argument("--only", default="", help="programs whose names begin so, A,B")
    parser.add_argument(
        "--repeat", type=int, default=3, help="each run; the median (%(default)s)"
    )
    parser.add_argument(
        "--deadline", type=float, default=120, help="seconds a run (%(default)g)"
    )
    parser.add_argument("--no-strace", action="store_true", help="count no calls")
    parser.add_argument(
        "--no-open",
        action="store_true",
        help="neither attach nor join; simulate no rank",
    )
    again = parser.add_mutually_exclusive_group()
    again.add_argument(
        "--add", action="store_true", help="to the results that are kept, or replace"
    )
    again.add_argument("--redraw", action="store_true", help="what is kept, no runs")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "build" / "bench", help="(%(default)s)"
    )
    return parser


def _sizes(text: str) -> list[int]:
    sizes = [int(word) for word in text.split(",") if word]
    if any(size % 2 or size < 4 for size in sizes):  # noqa: PLR2004
        raise argparse.ArgumentTypeError("even numbers of at least 4")
    return sizes


def _check_images(cluster: Cluster) -> None:
    for path in (OURS, PEERS):
        if cluster.run(["test", "-e", path]).returncode:
            raise ConfigError(
                f"no {Path(path).name} in {cluster.images}", "both images", "make sif"
            )
    # So that all programs read the images from memory, the first one too.
    for node in cluster.members():
        cluster.run(f"cat {OURS} {PEERS} > /dev/null", node=node, timeout=120)


def _measured(
    cluster: Cluster, options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Yield all results so far after each run."""
    install(cluster)
    chosen = [one for one in CONTENDERS if _wanted(one, options.only)]
    if not chosen:
        known = sorted({one.name for one in CONTENDERS})
        raise UsageError(f"--only {options.only}", f"some of {', '.join(known)}")
    runs: list[dict[str, Any]] = []
    calls: dict[str, float | None] = {}
    machine = {
        "cpus": os.cpu_count(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load_before": os.getloadavg()[0],
        "load_after": os.getloadavg()[0],
    }
    results: dict[str, Any] = {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "versions": _versions(cluster),
        "machine": machine,
        "runs": runs,
        "home_calls": calls,
        "home_calls_ranks": HOME_CALLS_RANKS,
        "opened": [],
        "simulated": [],
    }
    for one, size in _plan(chosen, options):
        if _never_ends(runs, one, size):
            continue
        runs.append(measure(cluster, one, size, options.deadline).plain())
        _tell(runs[-1])
        machine["load_after"] = os.getloadavg()[0]
        yield results
    for _ in range(options.repeat * (not options.no_open)):
        results["opened"].append(opened(cluster, options.deadline))
        say(f"a running cluster: {results['opened'][-1]}")
        results["simulated"].append(asdict(simulate(SIMULATED, A_NODE)))
        yield results
    for one in chosen * (not options.no_strace):
        if one.shape == "ranks":
            calls[one.name] = home_calls(
                cluster, one, HOME_CALLS_RANKS, options.deadline
            )
            say(f"{one.name}: {calls[one.name]} calls a rank on the shared home")
            yield results


def _plan(
    chosen: Sequence[Contender], options: argparse.Namespace
) -> Iterator[tuple[Contender, int]]:
    """Yield what to run: all programs at one size, then at the next.

    Other work of the machine then disturbs those that are compared alike.
    """
    sizes = {
        "ranks": options.ranks,
        "one task a node": options.workers,
        "moved": MOVED if options.ranks else (),
    }
    for _ in range(options.repeat):
        for shape, those in sizes.items():
            for size in those:
                for one in chosen:
                    if one.shape == shape:
                        yield one, size


def _never_ends(runs: Sequence[Mapping[str, Any]], one: Contender, size: int) -> bool:
    """Return whether it was ended at its deadline before: once is enough to know."""
    return any(
        (run["name"], run["shape"], run["size"]) == (one.name, one.shape, size)
        and run["status"] is None
        for run in runs
    )


def _joined(before: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    def key(run: dict[str, Any]) -> tuple[str, ...]:
        return run["name"], run["shape"], str(run["size"])

    replaced = {key(run) for run in new["runs"]}
    kept = [run for run in before["runs"] if key(run) not in replaced]
    order = [one.name for one in CONTENDERS]
    runs = sorted(kept + new["runs"], key=lambda run: order.index(run["name"]))
    calls = before["home_calls"] | new["home_calls"]
    opened = {
        name: new[name] or before.get(name, []) for name in ("opened", "simulated")
    }
    return new | {"runs": runs, "home_calls": calls} | opened


def _wanted(contender: Contender, only: str) -> bool:
    return contender.name.startswith(tuple(filter(None, only.split(","))) or "")


def _tell(run: dict[str, Any]) -> None:
    moved = "".join(f", {name} {value:.4g}" for name, value in run["moved"].items())

    def seconds(value: float | None) -> str:
        return "-" if value is None else f"{value:.2f} s"

    say(
        f"{run['name']}, {run['shape']}, {run['size']}: ready {seconds(run['ready'])}, "
        f"end {seconds(run['closing'])}, {run['stderr']} lines{moved}"
        + (f"; {run['trouble']}" if run["trouble"] else "")
    )


def _versions(cluster: Cluster) -> dict[str, str]:
    found: dict[str, str] = {}
    for image in (PEERS, OURS):
        done = cluster.run(["apptainer", "exec", image, "python", "-c", VERSIONS])
        found |= json.loads(done.stdout)
    for command in ("sinfo --version", "apptainer --version"):
        words = cluster.run(command).stdout.split()
        found[words[0]] = words[-1]
    return found
