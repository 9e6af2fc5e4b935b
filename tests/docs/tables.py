"""What the pages in docs/ have from the code: ``make docs-tables`` writes it anew.

Each part stands between two comments of its page, ``<!-- name -->`` and
``<!-- end -->``.
"""

from __future__ import annotations

import re
from pathlib import Path

from ci.benchmarks import pages as bench
from dask_runner.launch.options import OPTIONS, Option
from dask_runner.launch.table import LAUNCHERS
from tests import systems
from tests.attacks.table import table as attacks
from tests.docs import blocks, messages, report_keys

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def _option(option: Option) -> str:
    names = [f"--{option.name}", *filter(None, [option.short])]
    metavar = option.metavar.replace("|", "\\|")
    if not option.metavar:
        names = [f"--{option.name}", f"--no-{option.name}"]
    flags = ", ".join(f"`{name}`" for name in names)
    plain = option.default in (None, (), "")
    default = "" if plain else f"`{str(option.default).lower()}`"
    if isinstance(option.default, str):
        default = f"`{option.default}`"
    return f"| {flags} {metavar}".rstrip() + f" | {default} | {option.help} |"


def options() -> str:
    """Return the table of the options of a cluster."""
    head = ["| option | default | meaning |", "|---|---|---|"]
    return "\n".join(head + [_option(option) for option in OPTIONS])


def launchers() -> str:
    """Return the titles of the launchers, the innermost first."""
    return ", ".join(launcher.title for launcher in LAUNCHERS) + "."


#: (page, name of the part): what makes it.
PARTS = {
    ("reference/options.md", "options"): options,
    ("launchers/index.md", "launchers"): launchers,
    ("explanation/security.md", "attacks"): attacks,
    ("reference/messages.md", "messages"): messages.table,
    ("runtimes.md", "runtimes"): systems.RUNTIMES.markdown,
    ("systems.md", "batch-systems"): systems.BATCH_SYSTEMS.markdown,
    ("contributing.md", "blocks"): blocks.table,
    ("explanation/speed.md", "bench-facts"): bench.facts,
    ("explanation/speed.md", "bench-goals"): bench.reached,
    ("explanation/speed.md", "bench-ready"): bench.ready,
    ("explanation/speed.md", "bench-one-run"): bench.one_run,
    ("explanation/speed.md", "bench-data"): bench.moved,
    ("../README.md", "bench-ready"): bench.ready_of_few,
    ("reference/report-schema.md", "keys"): report_keys.table,
}


def marked(page: str, name: str) -> str:
    """Return the part of a page between two comments."""
    text = (DOCS / page).read_text()
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- end -->", text, re.DOTALL)
    if not found:
        raise LookupError(f"docs/{page} has no part {name}")
    return found[1]


def write() -> None:
    """Write all parts anew."""
    for (page, name), make in PARTS.items():
        old = marked(page, name)
        path = DOCS / page
        begin = f"<!-- {name} -->\n"
        path.write_text(path.read_text().replace(begin + old, f"{begin}{make()}\n", 1))


if __name__ == "__main__":
    write()
