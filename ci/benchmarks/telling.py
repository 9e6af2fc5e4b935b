"""``ci/telling``: measure what it costs that a run tells what it uses.

Local ranks run the same script by turns, once with all that can be told and once with
nothing. CPU time counts, because it is the same on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Value = Callable[[Mapping[str, Any]], float]

JOB = Path(__file__).parent / "jobs" / "telling.py"
NOTHING, ALL = "nothing", "all"


def _at_rest(kind: str) -> Value:
    return lambda one: 100 * one["rest"].get(kind, 0.0)


def _line(kind: str) -> Value:
    return lambda one: 1e6 * one["line"].get(kind, 0.0)


#: What is measured, and which of several runs counts: what is in the way of a run only
#: slows it.
ROWS: list[tuple[str, Value, Callable[[Iterable[float]], float]]] = [
    ("leader and followers at rest, % of one CPU", _at_rest("ranks"), median),
    ("carrier at rest, % of one CPU", _at_rest("carrier"), median),
    ("scheduler at rest, % of one CPU", _at_rest("scheduler"), median),
    ("tasks a second", lambda one: one["speed"], max),
    ("CPU time of a task in all processes, µs", lambda one: 1e6 * one["task"], min),
    ("of that, counting it, µs", lambda one: 1e6 * one["counting"], min),
    ("round trip of a task, ms", lambda one: 1e3 * one["trip"], min),
    ("a printed line in the worker, µs", _line("worker"), min),
    ("a printed line in the carrier, µs", _line("carrier"), min),
]


def main(argv: Sequence[str]) -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="ci/telling", description=__doc__)
    parser.add_argument("--ranks", type=int, default=2, help="%(default)s")
    parser.add_argument("--workers", type=int, default=4, help="a rank: %(default)s")
    parser.add_argument("--repeat", type=int, default=3, help="%(default)s")
    parser.add_argument("--rest", type=float, default=10.0, help="%(default)s seconds")
    options = parser.parse_args(argv)
    found: dict[str, list[dict[str, Any]]] = {NOTHING: [], ALL: []}
    for number in range(options.repeat):
        for how, each in found.items():
            each.append(_run(options, how, f"{os.getpid()}-{number}-{how}"))
    sys.stdout.write(table(found))
    return 0


def _run(options: argparse.Namespace, how: str, mark: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        told = Path(directory, "told.json")
        reports = [f"--report={directory}/r{end}" for end in (".json", ".svg")]
        words = {
            NOTHING: ["--quiet", "--no-progress", "--no-label"],
            ALL: ["--progress", "--label", *reports],
        }
        line = ["-m", "dask_runner", "-n", str(options.ranks), "--no-dashboard"]
        line += ["--nthreads", "1", "--nworkers", str(options.workers), *words[how]]
        subprocess.run(
            [sys.executable, *line, str(JOB), str(told), str(options.rest)],
            env={**os.environ, "TELLING_MARK": mark},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        found: dict[str, Any] = json.loads(told.read_text())
        return found


def table(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return the table in Markdown."""
    rows = ["| | nothing told | all told |", "|---|---:|---:|"]
    for what, value, best in ROWS:
        each = (best(map(value, found[how])) for how in (NOTHING, ALL))
        rows.append(f"| {what} | {' | '.join(f'{one:.2f}' for one in each)} |")
    return "\n".join(rows) + "\n"
