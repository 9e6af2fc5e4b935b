"""Rest, compute and print, and note the CPU time of each kind of process meanwhile.

It is the script of a run whose processes have ``TELLING_MARK`` among their variables.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from timeit import timeit
from typing import TYPE_CHECKING

from dask.distributed import Client

from dask_runner.programs.work_done import WorkDone

if TYPE_CHECKING:
    from collections.abc import Callable

MARK = f"TELLING_MARK={os.environ['TELLING_MARK']}".encode()
REST_SECONDS = float(sys.argv[2])
TASKS, MAPS, TRIPS, ROUNDS, LINES = 500, 5, 20, 5, 20_000
CALLS = 100_000
#: What Dask tells a plugin of a task: five times, of which one is counted.
STEPS = [
    ("released", "waiting"),
    ("waiting", "processing"),
    ("processing", "memory"),
    ("memory", "released"),
    ("released", "forgotten"),
]


def kind_of(process: Path) -> str:
    """Return whose process it is; the ranks' keep the interpreter's name."""
    name = (process / "comm").read_text().strip()
    if name.startswith("dask-") and name != "dask-runner":
        return name.removeprefix("dask-")
    return "ranks"


def cpu() -> Counter[str]:
    """Return the seconds of CPU time of each kind."""
    found: Counter[str] = Counter()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if MARK in (process / "environ").read_bytes().split(b"\0"):
                told = (process / "schedstat").read_text()
                found[kind_of(process)] += int(told.split()[0]) / 1e9
        except OSError:
            continue  # it has ended, or is somebody else's
    return found


def during(work: Callable[[], object]) -> tuple[float, dict[str, float]]:
    """Return the seconds of *work*, and the CPU time of each kind meanwhile."""
    before, began = cpu(), time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    return seconds, {kind: used - before[kind] for kind, used in cpu().items()}


def compute() -> None:
    """Compute many tasks that do nothing."""
    client.gather(client.map(lambda x: x, range(TASKS), pure=False))


def trips() -> None:
    """Compute a few tasks, one after the other."""
    for number in range(TRIPS):
        client.submit(abs, number, pure=False).result()


def prints() -> None:
    """Print lines in a task."""
    for number in range(LINES):
        print(number)  # noqa: T201  this is measured


def counting() -> float:
    """Return the seconds that our counter of tasks takes for one."""
    plugin = WorkDone(None)

    def task() -> None:
        for begin, end in STEPS:
            plugin.transition("x", begin, end, stimulus_id="s", worker="w", nbytes=1)

    return timeit(task, number=CALLS) / CALLS


client = Client()
compute()
rest = during(lambda: time.sleep(REST_SECONDS))
maps = [during(compute) for _ in range(MAPS)]
rounds = [during(trips)[0] for _ in range(ROUNDS)]
lines = during(lambda: client.submit(prints).result())[1]
used = min((used for _, used in maps), key=lambda one: sum(one.values()))
Path(sys.argv[1]).write_text(
    json.dumps(
        {
            "rest": {kind: used / REST_SECONDS for kind, used in rest[1].items()},
            "speed": TASKS / min(seconds for seconds, _ in maps),
            "task": sum(used.values()) / TASKS,
            "trip": min(rounds) / TRIPS,
            "line": {kind: used / LINES for kind, used in lines.items()},
            "counting": counting(),
        }
    )
)
