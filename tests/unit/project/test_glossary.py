"""docs/glossary.md names modules and classes that exist, and each term once."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()
ROWS = re.findall(r"^\| ([^|]+) \| ([^|]+) \| `([\w.]+)` \|$", GLOSSARY, re.MULTILINE)


@pytest.mark.parametrize("where", sorted({where for _, _, where in ROWS}))
def test_what_holds_a_term_exists(where: str) -> None:
    module, _, name = where.rpartition(".")
    if name[0].isupper():
        assert hasattr(importlib.import_module(f"dask_runner.{module}"), name)
    else:
        assert importlib.util.find_spec(f"dask_runner.{where}")


def test_each_term_has_one_meaning() -> None:
    terms = [term for named, _, _ in ROWS for term in named.split(", ")]

    assert len(terms) == len(set(terms))


def test_each_row_is_read_here() -> None:
    heads = GLOSSARY.count("| term | meaning | where |")
    lines = [line for line in GLOSSARY.splitlines() if line.startswith("| ")]

    assert heads
    assert len(ROWS) == len(lines) - heads
