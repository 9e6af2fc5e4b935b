"""The docs' tables of systems are those that the tests make."""

import re
from pathlib import Path

from tests import systems

ROOT = Path(__file__).resolve().parents[3]


def marked(page: str, name: str) -> str:
    """Return the part of a page between two comments."""
    text = (ROOT / page).read_text()
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- end -->", text, re.DOTALL)
    assert found, name
    return found[1]


def test_the_table_of_runtimes_is_made_of_what_is_run() -> None:
    assert marked("docs/runtimes.md", "runtimes") == systems.RUNTIMES.markdown() + "\n"


def test_the_table_of_batch_systems_is_made_of_what_is_run() -> None:
    table = systems.BATCH_SYSTEMS.markdown() + "\n"

    assert marked("docs/systems.md", "batch-systems") == table


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
