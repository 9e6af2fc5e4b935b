"""Cells as tests, and the table of what came of them."""

import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import pytest

from tests.cluster.conftest import cluster, shown  # noqa: F401  fixtures
from tests.cluster.jobs import HOME, Jobs
from tests.conftest import ROOT
from tests.failures.kills.table import KillTable
from tests.failures.play import Outcome

TABLE = ROOT / "build" / "failures.jsonl"
PROPERTY = "cell"


def heavy_but(usual: frozenset[str], cells: Iterable[Any]) -> list[Any]:
    """Return cells as parameters of a test; all are heavy but those with these names.

    The others are played by ``make test-failures``.
    """
    return [
        pytest.param(
            cell, id=str(cell), marks=() if str(cell) in usual else pytest.mark.heavy
        )
        for cell in cells
    ]


@contextmanager
def place_on(slurm: Any) -> Iterator[Jobs]:
    """Give a directory on the cluster; end what runs there, and remove it."""
    jobs = Jobs(slurm, f"{HOME}/{secrets.token_hex(4)}")
    try:
        yield jobs
    finally:
        jobs.discard()


@pytest.fixture
def note(record_property: Callable[[str, object], None]) -> Callable[[Outcome], None]:
    """Note what came of a cell: for the table at the end, and for machines."""

    def note(outcome: Outcome) -> None:
        row = asdict(outcome) | {"cell": outcome.cell.name}
        row |= {"launcher": outcome.cell.launcher}
        del row["stderr"]
        record_property(PROPERTY, row)

    return note


@dataclass(eq=False)
class Table:
    """What came of the cells, also of those that pytest-xdist's workers played."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take a cell's row, and write it at once: the last cells may be long."""
        row = dict(report.user_properties).get(PROPERTY)
        if report.when != "call" or not isinstance(row, dict):
            return
        TABLE.parent.mkdir(exist_ok=True)
        with TABLE.open("a" if self.rows else "w") as file:
            file.write(json.dumps(row) + "\n")
        self.rows.append(row)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Print the table."""
        if not self.rows:
            return
        terminalreporter.section("failures")
        terminalreporter.line(
            f"{'':10} {'cells':>6} {'passed':>7} {'in time':>8}  slowest end"
        )
        for launcher in sorted({row["launcher"] for row in self.rows}):
            rows = [row for row in self.rows if row["launcher"] == launcher]
            passed = [row for row in rows if not row["faults"]]
            # Others had a busy machine, and the time for that.
            in_time = [row for row in passed if row["seconds"] <= row["within"]]
            slowest = max(passed or rows, key=lambda row: float(row["seconds"]))
            terminalreporter.line(
                f"{launcher:10} {len(rows):6} {len(passed):7} {len(in_time):8}  "
                f"{slowest['seconds']:.1f} s ({slowest['cell']})"
            )
        terminalreporter.line(f"each of them: {os.path.relpath(TABLE)}")


def pytest_configure(config: pytest.Config) -> None:
    """Keep one table, in the process that prints."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Table(), "failures-table")
        config.pluginmanager.register(KillTable(), "random-kills-table")
