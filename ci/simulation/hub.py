"""The real hub and rendezvous, with fake ranks on loopback.

``ci/simulate_ranks 100 1000 10000`` starts, for each size, one process that is
rank 0's hub (:class:`~dask_runner.hub.server.Hub` and
:class:`~dask_runner.hub.cluster.Cluster` as they are) and a few that play all nodes:
the leader of each looks for the record in a directory, shakes hands, says what the
node and its ranks say, and answers what the hub tells them. Only Dask is missing: a
fake rank's workers are up at once. What is measured is what the protocol costs the
hub.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ci.simulation.ranks import DEADLINE, KEY, be_ranks
from containers.entry import ROOT
from dask_runner.hub.cluster import Cluster
from dask_runner.hub.pings import PING_SECONDS
from dask_runner.hub.report import Reporter
from dask_runner.hub.server import Hub
from dask_runner.launch import plan
from dask_runner.launch.settings import settle
from dask_runner.launch.world import World
from dask_runner.meeting.by_file import FileMeeting
from dask_runner.meeting.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LOOPBACK = "127.0.0.1"
#: Processes that play the ranks: one alone would be slower than the hub.
PLAYERS = 2
#: File descriptors that a process needs beside its connections.
SPARE_FILES = 100
#: Seconds that the ranks look before rank 0 publishes.
EARLY = 2.0


@dataclass(frozen=True, slots=True)
class Result:
    """What one size cost.

    Attributes
    ----------
    ranks, nodes : int
    assembled, ready, gone : float
        Seconds from the record's publication until all ranks were in, until the
        client was told that all is ready, and from the client's end until the
        last rank had left.
    idle : float
        CPU seconds of the hub in a second with nothing but pings.
    cpu : float
        CPU seconds of the hub for all of it.
    memory : float
        Bytes that the hub's process grew by, a rank.
    looks : float
        How often a node looked into the shared directory.
    """

    ranks: int
    nodes: int
    assembled: float
    ready: float
    gone: float
    idle: float
    cpu: float
    memory: float
    looks: float


def main(argv: Sequence[str]) -> int:
    """Simulate each size and print a table."""
    parser = argparse.ArgumentParser(
        prog="ci/simulate_ranks",
        description="What the hub and the rendezvous cost with so many ranks.",
    )
    parser.add_argument("sizes", type=int, nargs="*", default=[100, 1000, 10000])
    parser.add_argument(
        "--per-node", type=int, default=64, help="ranks a node (%(default)s)"
    )
    parser.add_argument(
        "--early",
        type=float,
        default=EARLY,
        help="seconds that the ranks look before rank 0 publishes (%(default)g)",
    )
    parser.add_argument("--json", action="store_true", help="one line a size")
    parser.add_argument("--role", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.role:
        ROLES[options.role.partition(" ")[0]](json.loads(options.role.split(" ", 1)[1]))
        return 0
    if not options.json:
        print(" ".join(f"{name:>9}" for name in Result.__slots__))  # noqa: T201
    for size in options.sizes:
        result = simulate(size, options.per_node, options.early)
        print(  # noqa: T201
            json.dumps(asdict(result))
            if options.json
            else " ".join(f"{value:9.4g}" for value in asdict(result).values()),
            flush=True,
        )
    return 0


def simulate(size: int, per_node: int, early: float = EARLY) -> Result:
    """Run the hub with so many fake ranks.

    Parameters
    ----------
    size : int
        The number of ranks.
    per_node : int
        Ranks a node.
    early : float
        Seconds that the ranks look before rank 0 publishes.
    """
    _allow_files(size + SPARE_FILES)
    with tempfile.TemporaryDirectory(prefix="dask-runner-simulation-") as directory:
        common = {"size": size, "per_node": per_node, "directory": directory}
        nodes = -(-size // per_node)
        bounds = [
            min(size, nodes * number // PLAYERS * per_node)
            for number in range(PLAYERS + 1)
        ]
        parts = [
            {"first": first, "end": end}
            for first, end in zip(bounds, bounds[1:])  # noqa: B905, RUF007
        ]
        with _processes(
            [("hub", {**common, "early": early})]
            + [("ranks", {**common, **part}) for part in parts]
        ) as (hub, *players):
            said, _ = hub.communicate(timeout=DEADLINE)
            looks = 0
            for player in players:
                looks += json.loads(player.communicate(timeout=DEADLINE)[0])
    return Result(ranks=size, nodes=nodes, looks=looks / nodes, **json.loads(said))


@contextmanager
def _processes(
    wanted: Sequence[tuple[str, dict[str, Any]]],
) -> Iterator[list[subprocess.Popen[str]]]:
    script = ROOT / "ci" / "simulate_ranks"
    started = [
        subprocess.Popen(
            [sys.executable, str(script), "--role", f"{role} {json.dumps(values)}"],
            stdout=subprocess.PIPE,
            text=True,
        )
        for role, values in wanted
    ]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()


def _allow_files(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and wanted > hard:
        raise SystemExit(
            f"{wanted} files are needed and {hard} allowed: ulimit -n, or fewer ranks"
        )
    if soft != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


# --- rank 0 -----------------------------------------------------------------


def _be_hub(values: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(asyncio.run(_hub(**values))))


async def _hub(
    size: int, per_node: int, directory: str, early: float
) -> dict[str, float]:
    del per_node
    world = World("simulation", 0, size, None, None, KEY, KEY, "file")
    settings = settle({"timeout": DEADLINE, "quiet": True}, {})
    report = Reporter(quiet=True)
    cluster = Cluster(world, plan.make_plan(size, "shared"), settings, report)
    hub = Hub(cluster, report, settings.silence)
    host = LOOPBACK
    port = await hub.listen(host)
    before = _memory()
    await asyncio.sleep(early)
    record = Record(KEY, "0" * 32, "node0", host, port, hub.certificate, hub.key)
    meeting = FileMeeting([Path(directory) / "record.json"], KEY)
    started, spent = time.monotonic(), time.process_time()
    end = asyncio.create_task(cluster.finished())
    await meeting.publish(record)
    assembled = await _seconds_until(lambda: cluster.assembled, started)
    # The client is rank 0's; it ends only when told, by the file.
    ready = await _seconds_until((Path(directory) / "ready").exists, started)
    memory = _memory()
    idle_began = time.process_time()
    await asyncio.sleep(2 * PING_SECONDS)
    idle = (time.process_time() - idle_began) / (2 * PING_SECONDS)
    (Path(directory) / "end").touch()
    ended = await _seconds_until((Path(directory) / "ended").exists, started)
    await end
    gone = time.monotonic() - started - ended
    await hub.shut()
    meeting.withdraw()
    return {
        "assembled": assembled,
        "ready": ready,
        "gone": gone,
        "idle": idle,
        "cpu": time.process_time() - spent,
        "memory": (memory - before) / size,
    }


async def _seconds_until(reached: Any, started: float) -> float:
    async with asyncio.timeout(DEADLINE):
        while not reached():  # noqa: ASYNC110  another process's doing
            await asyncio.sleep(0.01)
    return time.monotonic() - started


def _memory() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


ROLES = {"hub": _be_hub, "ranks": be_ranks}
