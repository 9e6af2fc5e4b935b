"""The code blocks of the pages in docs/, and which of them are run.

A comment stands before each block. It says where the block is run:

- ``<!-- run: local -->``: its lines after ``$ `` run in a directory of the page's own,
  and what they print is compared with the other lines. ``...`` stands for what differs
  from time to time within a line; alone on a line, for any lines.
- ``<!-- run: local file NAME -->``: the block is written there, for those that follow.
- ``<!-- run: slurm -->`` and ``<!-- run: slurm file NAME -->``: the same on the Slurm
  cluster in containers, where ``dask-runner.sif`` is the image. After a command that
  prints ``Submitted batch job 7``, the page's 7 stands for that job's number, and a
  command that names the job's output waits for its end.
- ``<!-- run: both -->``, ``<!-- run: both file NAME -->``: here and on Slurm.

Two words may follow on Slurm. ``background``: the command goes on while the next
blocks run, as soon as it has printed what the block tells, and has to end by itself
before the page does. ``in PAGE``: the block runs in the course of another page, after
all that goes on there in the background has begun.

Or it says why it is not run:

- ``<!-- not run: REASON -->``, with one of :data:`REASONS`.
- ``<!-- not run: the same by FILE -->``: that file of tests runs the same, with other
  names, or on another system.
- ``<!-- NAME -->`` on a page of :data:`RUN_BY_OTHERS`: the tests named there take the
  block from the page by this name and run it.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

REASONS = (
    # What cannot be here.
    "needs a GPU",
    "needs more nodes than the tests have",
    "needs a cloud's account",
    "needs another system",
    "needs the package index",
    "needs somebody who looks at it",
    # What would say nothing.
    "no command",
    "a part of a program",
    "a part of a settings file",
    "other lines of the page run the same",
    "makes the image that the tests run",
    "runs the tests",
)

#: The pages whose blocks a test runs by their names.
RUN_BY_OTHERS = {
    "runtimes.md": ("tests/cluster/test_runtimes.py", "tests/cluster/runtimes.py")
}

_SAME = re.compile(r"not run: the same by (tests/\S+\.py)")
_MARK = re.compile(r"^ *<!-- (.+?) -->$")
_RUN = re.compile(
    r"run: (?P<place>local|slurm|both)"
    r"(?: file (?P<file>\S+)|(?P<background> background))?(?: in (?P<course>\S+))?"
)
_FENCE = re.compile(r"^ *```(\{?[\w-]*\}?)")

#: The columns of the table, by what becomes of a block.
_COLUMNS = {
    "local": "run here",
    "slurm": "run on Slurm",
    "others": "run by other tests",
    "same": "the same is run by other tests",
    "not": "not run",
}


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
    line : int
        Where the text begins on the page.
    """

    page: str
    mark: str
    code: str
    line: int = 1

    @property
    def place(self) -> str | None:
        """Return where it runs, or is a file for what runs: local, slurm, both."""
        return self._word("place")

    @property
    def file(self) -> str | None:
        """Return the name under which it is written."""
        return self._word("file")

    @property
    def course(self) -> str | None:
        """Return the page in whose course it runs, if it is not its own."""
        return self._word("course")

    @property
    def background(self) -> bool:
        """Whether it goes on while the next blocks run."""
        return bool(self._word("background"))

    def runs(self, place: str) -> bool:
        """Say whether it is for a place."""
        return self.place in {place, "both"}

    def _word(self, name: str) -> str | None:
        found = _RUN.fullmatch(self.mark)
        return found[name] if found else None

    @property
    def why_not(self) -> str | None:
        """Return why it is not run as it stands, or None if it is."""
        _, told, reason = self.mark.partition("not run: ")
        return reason if told else None

    @property
    def fault(self) -> str | None:
        """Return what is wrong with its mark."""
        if self.place or self.why_not in REASONS:
            return None
        if same := _SAME.fullmatch(self.mark):
            return None if (ROOT / same[1]).exists() else f"{same[1]} is no file"
        for test in RUN_BY_OTHERS.get(self.page, ()):
            if f'"{self.mark}"' in (ROOT / test).read_text():
                return None
        return f"{self.mark!r} says neither where it is run nor why not"


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
                code = _text(lines[at + 1 : end])
                found.append(Block(page, mark, code, at + 1))
            mark, at = "", end
        elif (line.startswith("    ") and not lines[at - 1].strip()) or (
            line.startswith("    ") and _MARK.match(lines[at - 1])
        ):
            end = at
            while end < len(lines) and (
                lines[end].startswith("    ") or not lines[end].strip()
            ):
                end += 1
            found.append(Block(page, mark, _text(lines[at:end]), at + 1))
            mark, at = "", end - 1
        elif line.strip():
            mark = ""
        at += 1
    return found


def courses(place: str) -> dict[str, list[Block]]:
    """Return what runs at a place, by the pages in whose course it does."""
    here = [block for path in pages() for block in blocks(path) if block.runs(place)]
    found: dict[str, list[Block]] = {}
    for page in dict.fromkeys(block.course or block.page for block in here):
        own = [block for block in here if block.page == page]
        begun = max(
            (n for n, block in enumerate(own, 1) if block.background), default=0
        )
        guests = [block for block in here if block.course == page]
        found[page] = [*own[:begun], *guests, *own[begun:]]
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
    """Return the table of what is run where, and why not, in Markdown."""
    head = ["page", "blocks", *_COLUMNS.values(), "why not"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    totals: Counter[str] = Counter()
    for path in pages():
        found = blocks(path)
        if not found:
            continue
        places = Counter(map(_column, found))
        reasons = {str(block.why_not): None for block in found if block.why_not}
        told = re.sub(r"(tests/\S+\.py)", r"`\1`", "; ".join(reasons))
        counts = [str(places[name] or "") for name in _COLUMNS]
        page = str(path.relative_to(DOCS))
        lines.append(f"| {' | '.join([page, str(len(found)), *counts, told])} |")
        totals += places
    sums = [str(totals[name]) for name in _COLUMNS]
    lines.append(f"| all | {totals.total()} | {' | '.join(sums)} |  |")
    return "\n".join(lines)


def _column(block: Block) -> str:
    if _SAME.fullmatch(block.mark):
        return "same"
    place = "slurm" if block.place == "both" else block.place
    return place or ("not" if block.why_not else "others")
