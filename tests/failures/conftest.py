"""Cells as tests, and the table of what came of them."""

import json
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import pytest

from tests.cluster.conftest import cluster, shown  # noqa: F401  fixtures
from tests.cluster.jobs import HOME, Jobs
from tests.conftest import ROOT
from tests.failures.play import Outcome

TABLE = ROOT / "build" / "failures.jsonl"
PROPERTY = "cell"


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Iterator[Jobs]:
    """A directory on the cluster, asked for by the cells that are played there."""
    jobs = Jobs(request.getfixturevalue("cluster"), f"{HOME}/{secrets.token_hex(4)}")
    yield jobs
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
        terminalreporter.line(f"{'':10} {'cells':>6} {'passed':>7}  slowest end")
        for launcher in sorted({row["launcher"] for row in self.rows}):
            rows = [row for row in self.rows if row["launcher"] == launcher]
            passed = [row for row in rows if not row["faults"]]
            slowest = max(passed or rows, key=lambda row: float(row["seconds"]))
            terminalreporter.line(
                f"{launcher:10} {len(rows):6} {len(passed):7}  "
                f"{slowest['seconds']:.1f} s ({slowest['cell']})"
            )
        terminalreporter.line(f"each of them: {os.path.relpath(TABLE)}")


def pytest_configure(config: pytest.Config) -> None:
    """Keep one table, in the process that prints."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Table(), "failures-table")
