"""Cells as tests, and the table of what came of them.

``FAILURES`` says which: ``few`` (the default) or ``all``; ``-k`` chooses among them.
"""

import json
import os
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.cluster.conftest import cluster, sif  # noqa: F401  fixtures
from tests.cluster.jobs import HOME, Jobs
from tests.conftest import ROOT
from tests.failures.play import Outcome

OUTCOMES: list[Outcome] = []
TABLE = ROOT / "build" / "failures.jsonl"


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Iterator[Jobs]:
    """A directory on the cluster, asked for by the cells that are played there."""
    jobs = Jobs(request.getfixturevalue("cluster"), f"{HOME}/{secrets.token_hex(4)}")
    yield jobs
    jobs.discard()


@pytest.fixture
def note() -> Callable[[Outcome], None]:
    """Note what came of a cell: for the table at the end, and for machines."""

    def note(outcome: Outcome) -> None:
        TABLE.parent.mkdir(exist_ok=True)
        with TABLE.open("a" if OUTCOMES else "w") as file:
            row = {"cell": outcome.cell.name, "seconds": round(outcome.seconds, 2)}
            row |= {"status": outcome.status, "faults": outcome.faults}
            file.write(json.dumps(row) + "\n")
        OUTCOMES.append(outcome)

    return note


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the table."""
    if not OUTCOMES:
        return
    terminalreporter.section("failures")
    terminalreporter.line(f"{'launcher':10} {'cells':>6} {'passed':>7}  slowest end")
    for launcher in sorted({one.cell.launcher for one in OUTCOMES}):
        cells = [one for one in OUTCOMES if one.cell.launcher == launcher]
        passed = [one for one in cells if not one.faults]
        slowest = max(passed or cells, key=lambda one: one.seconds)
        terminalreporter.line(
            f"{launcher:10} {len(cells):6} {len(passed):7}  "
            f"{slowest.seconds:.1f} s ({slowest.cell.name})"
        )
    terminalreporter.line(f"each of them: {os.path.relpath(TABLE)}")
