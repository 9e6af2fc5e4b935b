"""The table of random kills, at the end of a run of the tests."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

from tests.conftest import ROOT

if TYPE_CHECKING:
    import pytest

TABLE = ROOT / "build" / "random-kills.jsonl"
PROPERTY = "random kill"

#: An end that is not in time is a fault that says so.
LATE = ("ended after", "has not ended", "the result came")


@dataclass(eq=False)
class KillTable:
    """What came of the kills, also of those that pytest-xdist's workers played."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take a kill's row, and write it at once."""
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
        terminalreporter.section("random kills")
        for line in lines(self.rows):
            terminalreporter.line(line)
        terminalreporter.line(f"each of them: {os.path.relpath(TABLE)}")


def lines(rows: list[dict[str, Any]]) -> list[str]:
    """Return the table: a line for each kind of victim and signal, and their sum."""

    def of(row: dict[str, Any]) -> tuple[str, str]:
        return row["kind"], row["signal"]

    parts = [(*key, list(some)) for key, some in groupby(sorted(rows, key=of), of)]
    counts = f"{'runs':>5} {'in time':>8} {'faults':>7}"
    table = [f"{'victim':12} {'signal':10} {counts}  slowest end (seed)"]
    table += [_line(*part) for part in [*parts, ("all", "", rows)]]
    return table


def _line(kind: str, signal: str, rows: list[dict[str, Any]]) -> str:
    late = sum(any(one.startswith(LATE) for one in row["faults"]) for row in rows)
    wrong = sum(bool(row["faults"]) for row in rows)
    slowest = max(rows, key=lambda row: float(row["seconds"]))
    return (
        f"{kind:12} {signal:10} {len(rows):5} {len(rows) - late:8} {wrong:7}  "
        f"{slowest['seconds']:.1f} s ({slowest['seed']})"
    )
