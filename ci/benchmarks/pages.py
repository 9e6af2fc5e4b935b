"""The benchmark's results as the pages have them: ``make docs-tables`` writes them.

The pages show what is kept in ``docs/bench/bench.json``, and no other figure.
"""

from __future__ import annotations

import json
from statistics import median
from typing import TYPE_CHECKING, Any

from ci.benchmarks import goals, report
from containers.entry import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

KEPT = ROOT / "docs" / "bench" / "bench.json"
#: The size at which the pages compare what one run costs.
SIZE = 32
#: Programs of the table in README.
FEW = ("dask-runner", "SLURMRunner", "dask-mpi initialize")


def kept() -> dict[str, Any]:
    """Return the results that are kept in the checkout."""
    results: dict[str, Any] = json.loads(KEPT.read_text())
    return results


def facts() -> str:
    """Return when, on what, and with which versions was measured."""
    results = kept()
    notes = " ".join(results.get("notes", ()))
    return f"{report.facts(results)} {notes}".strip()


def ready() -> str:
    """Return the table of seconds to ready: all programs."""
    return _ready(lambda _: True)


def ready_of_few() -> str:
    """Return the table of seconds to ready of those that README compares."""
    return _ready(lambda name: name in FEW)


def one_run() -> str:
    """Return the table of what one run of 32 ranks costs."""
    runs = [
        run
        for run in kept()["runs"]
        if (run["shape"], run["size"]) == ("ranks", SIZE) and not _is_floor(run["name"])
    ]
    names = list(dict.fromkeys(run["name"] for run in runs))
    rows = [
        (title, *(_middle(runs, name, value, what) for name in names))
        for title, value, what, _ in report.MEASURES
    ]
    return report.rows((f"with {SIZE} ranks", *names), rows)


def moved() -> str:
    """Return the table of what moves between workers."""
    return report.moved([run for run in kept()["runs"] if run["shape"] == "moved"])


def reached() -> str:
    """Return the table of the goals."""
    return goals.table(kept())


def _is_floor(name: str) -> bool:
    return name.startswith("floor")


def _ready(wanted: Callable[[str], bool]) -> str:
    runs = [
        run for run in kept()["runs"] if run["shape"] == "ranks" and wanted(run["name"])
    ]
    sizes = sorted({run["size"] for run in runs})
    names = dict.fromkeys(run["name"] for run in runs)
    rows = [
        (
            name,
            *(
                _middle(
                    (run for run in runs if run["size"] == size),
                    name,
                    lambda run: run["ready"],
                    "{:.1f}",
                )
                for size in sizes
            ),
        )
        for name in names
    ]
    return report.rows(("ranks", *map(str, sizes)), rows)


def _middle(
    runs: Iterable[Mapping[str, Any]],
    name: str,
    value: Callable[[Mapping[str, Any]], float | None],
    what: str,
) -> str:
    """Return the median of a program's runs; nothing if one did not get so far."""
    values = [value(run) for run in runs if run["name"] == name]
    known = [found for found in values if found is not None]
    return what.format(median(known)) if known and len(known) == len(values) else ""
