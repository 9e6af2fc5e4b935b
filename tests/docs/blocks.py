"""The code blocks of the pages in docs/, and which of them are run.

A comment stands before a block that is run:

- ``<!-- run: local -->``: its lines after ``$ `` run in a directory of the page's own,
  and what they print is compared with the other lines. ``...`` stands for what differs
  from time to time within a line; alone on a line, for any lines.
- ``<!-- run: local file NAME -->``: the block is written there, for those that follow.
- ``<!-- run: slurm -->`` and ``<!-- run: slurm file NAME -->``: the same on the Slurm
  cluster in containers, where ``dask-runner.sif`` is the image.

Blocks behind another comment are run by the test that the comment is for; all others
are only read.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

_MARK = re.compile(r"^ *<!-- (.+?) -->$")
_RUN = re.compile(r"run: (local|slurm)(?: file (\S+))?")
_FENCE = re.compile(r"^ *```(\{?[\w-]*\}?)")


@dataclass(frozen=True)
class Block:
    """One block of code.

    Parameters
    ----------
    page : str
        Below docs/.
    mark : str
        The comment before it.
    code : str
        Its text.
    """

    page: str
    mark: str
    code: str

    @property
    def place(self) -> str | None:
        """Return where it runs, or is a file for what runs: local, slurm, or None."""
        found = _RUN.fullmatch(self.mark)
        return found[1] if found else None

    @property
    def file(self) -> str | None:
        """Return the name under which it is written."""
        found = _RUN.fullmatch(self.mark)
        return found[2] if found else None


def pages() -> list[Path]:
    """Return all pages."""
    return sorted(DOCS.rglob("*.md"))


def blocks(path: Path) -> list[Block]:
    """Return the blocks of a page, in their order."""
    page = str(path.relative_to(DOCS))
    found: list[Block] = []
    mark, lines = "", path.read_text().splitlines()
    at = 0
    while at < len(lines):
        line = lines[at]
        if comment := _MARK.match(line):
            mark = comment[1]
        elif fence := _FENCE.match(line):
            end = next(n for n in range(at + 1, len(lines)) if "```" in lines[n])
            if not fence[1].startswith("{"):
                found.append(Block(page, mark, _text(lines[at + 1 : end])))
            mark, at = "", end
        elif (line.startswith("    ") and not lines[at - 1].strip()) or (
            line.startswith("    ") and _MARK.match(lines[at - 1])
        ):
            end = at
            while end < len(lines) and (
                lines[end].startswith("    ") or not lines[end].strip()
            ):
                end += 1
            found.append(Block(page, mark, _text(lines[at:end])))
            mark, at = "", end - 1
        elif line.strip():
            mark = ""
        at += 1
    return found


def _text(lines: list[str]) -> str:
    return textwrap.dedent("\n".join(lines)).strip() + "\n"


def commands(block: Block) -> list[tuple[str, str]]:
    """Return (command, what it prints) of each ``$ `` of a block."""
    parts = re.split(r"^\$ ", block.code, flags=re.MULTILINE)
    if parts[0].strip():
        raise ValueError(f"docs/{block.page}: output before a command: {parts[0]!r}")
    return [
        (command, told)
        for command, _, told in (part.partition("\n") for part in parts[1:])
    ]


def fits(told: str, printed: str) -> bool:
    """Say whether what was printed is what a page tells, but for its ellipses."""
    lines = [
        r"(?:.*\n)*?"
        if line == "..."
        else re.escape(line).replace(r"\.\.\.", ".*?") + r"\n"
        for line in told.strip().splitlines()
    ]
    return bool(
        re.fullmatch("".join(lines), printed.strip() + "\n" * bool(printed.strip()))
    )


def table() -> str:
    """Return the table of what is run where, in Markdown."""
    lines = ["| page | blocks | run here | run on Slurm | run by other tests |"]
    lines.append("|---|---|---|---|---|")
    for path in pages():
        found = blocks(path)
        places = [block.place or (block.mark and "others") for block in found]
        counts = [places.count(name) or "" for name in ("local", "slurm", "others")]
        if found:
            page = path.relative_to(DOCS)
            cells = [page, len(found), *counts]
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)
