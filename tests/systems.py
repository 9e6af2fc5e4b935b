"""The tables of what was run on which system, made of the marks of the tests.

``python -m tests.systems`` prints them. A cell is "real" if a test runs it on the
system itself, "replayed" if one runs it with the system's variables and names, in
containers, and "not run" if there is none::

    @pytest.mark.system("Podman", "main job")
    @pytest.mark.system("PBS", "main job", "replayed")
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
MARK = "pytest.mark.system"
REAL, NOT_RUN = "real", "not run"


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes
    ----------
    head : str
        What its rows are.
    rows, columns : tuple of str
        The systems, and what can be run on them.
    """

    head: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]

    def markdown(self) -> str:
        """Return it in Markdown."""
        found = cells()
        lines = [
            [self.head, *self.columns],
            ["---"] * (1 + len(self.columns)),
            *(
                [row, *(found.get((row, column), NOT_RUN) for column in self.columns)]
                for row in self.rows
            ),
        ]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


RUNTIMES = Table(
    "runtime",
    (
        "Apptainer",
        "Docker",
        "Podman",
        "Charliecloud",
        "SingularityCE",
        "Shifter",
        "Sarus",
        "enroot and pyxis",
        "podman-hpc",
    ),
    (
        "main job",
        "two nodes under Slurm",
        "serve",
        "join",
        "a failed rank",
        "a killed container",
        "a lost node",
        "scancel",
    ),
)

BATCH_SYSTEMS = Table(
    "system",
    (
        "Slurm",
        "Grid Engine",
        "HTCondor",
        "PBS",
        "OAR",
        "LSF",
        "Flux",
        "Kubernetes",
        "JobSet",
        "LeaderWorkerSet",
        "AWS Batch",
        "ssh",
    ),
    ("main job", "serve", "join", "a failed rank", "a lost node", "taken away"),
)

TABLES = (RUNTIMES, BATCH_SYSTEMS)


def cells() -> dict[tuple[str, str], str]:
    """Return what the marks say of (system, what was run); "real" wins."""
    found: dict[tuple[str, str], str] = {}
    for path in sorted(HERE.glob("*/**/test_*.py")):
        text = path.read_text()
        if MARK not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == MARK:
                system, what, *how = (ast.literal_eval(one) for one in node.args)
                if found.get((system, what)) != REAL:
                    found[system, what] = how[0] if how else REAL
    return found


def unknown() -> set[tuple[str, str]]:
    """Return the marks that are in no table."""
    return {
        (system, what)
        for system, what in cells()
        if not any(system in one.rows and what in one.columns for one in TABLES)
    }


if __name__ == "__main__":
    print("\n\n".join(table.markdown() for table in TABLES))  # noqa: T201  what it is for
