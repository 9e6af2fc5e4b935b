"""The table of attacks: what the attacker tries, and what the attacker gets.

``python -m tests.attacks.table`` prints the table. It is read from the marks of the
tests, so each row has a test.
"""

from __future__ import annotations

import ast
from pathlib import Path

HERE = Path(__file__).parent


def rows() -> list[tuple[str, str]]:
    """Return (what another account tries, what it gets), in the order of the files."""
    found = []
    for path in sorted(HERE.glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                found += filter(None, map(_row, node.decorator_list))
    return found


def _row(decorator: ast.expr) -> tuple[str, str] | None:
    if not isinstance(decorator, ast.Call):
        return None
    if ast.unparse(decorator.func) != "pytest.mark.attack":
        return None
    tried, gets = (ast.literal_eval(one) for one in decorator.args)
    return tried, gets


def table() -> str:
    """Return it in Markdown."""
    lines = ["| the attacker | gets |", "|---|---|"]
    return "\n".join(lines + [f"| {tried} | {gets} |" for tried, gets in rows()])


if __name__ == "__main__":
    print(table())  # noqa: T201  what it is for
