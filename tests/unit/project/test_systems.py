"""Each cell of a table of systems has a test, or a documented line."""

import re
from pathlib import Path

from tests import systems

ROOT = Path(__file__).resolve().parents[3]


def test_each_mark_is_a_cell_of_a_table() -> None:
    assert systems.unknown() == set()


def test_a_runtime_that_nobody_has_run_has_a_documented_line() -> None:
    section = (ROOT / "docs/runtimes.md").read_text().partition("## Not run")[2]
    documented = re.findall(
        r"^\| ([^|]+?) \| `", section.partition("\n## ")[0], re.MULTILINE
    )
    table = systems.RUNTIMES
    cells = systems.cells()
    not_run = [
        row
        for row in table.rows
        if not any((row, column) in cells for column in table.columns)
    ]

    assert [*documented, "podman-hpc"] == not_run
