"""Write what the followers of an image share with the Python one, as a C header.

build-follower.sh runs this: the constants of dask_runner/node/follower.py are the
only ones, so the two cannot differ in a table, a limit or a word of the protocol.
"""

from __future__ import annotations

import json
import signal
import sys
from typing import TYPE_CHECKING

from dask_runner import __version__
from dask_runner.node import follower

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Names of the header, and what stands for them in C.
TEXTS = {
    "VERSION": __version__,
    "ALONE": follower.ALONE,
    "NAME": follower.NAME,
    "WATCHED": follower.WATCHED,
    "WATCHES": follower.WATCHES,
    "HASH_SEED": follower.HASH_SEED,
    "SEED": follower.SEED,
    "SEEDED": follower.SEEDED,
    "HELD": follower.HELD,
    "PLAYED": follower.PLAYED,
    "END": follower.END,
    "YOURSELF": follower.YOURSELF,
}
NUMBERS = {
    "LONGEST_NAME": follower.LONGEST_NAME,
    "LENGTH": follower.LENGTH,
    "FIND_LEADER_MS": round(follower.FIND_LEADER_SECONDS * 1000),
    "ANSWER_SECONDS": round(follower.ANSWER_SECONDS),
    "STOPPED_CHECK_SECONDS": follower.STOPPED_CHECK_SECONDS,
    "END_SECONDS": follower.END_SECONDS,
    "FIRST_LOOK_MS": round(follower.FIRST_LOOK_SECONDS * 1000),
    "LAST_LOOK_MS": round(follower.LAST_LOOK_SECONDS * 1000),
    "STAYS": follower.STAYS,
    "HANGS_UP": follower.HANGS_UP,
    "OVERFLOW": follower.OVERFLOW,
}
LISTS = {
    "NO_RUN": follower.NO_RUN,
    # The working directory and those that two containers may not share.
    "SHARED": (".", *follower.SHARED),
}
SIGNALS = {"ENDS": follower.ENDS, "SIGNALS": follower.SIGNALS}


def header() -> str:
    """Return the header's text."""
    width = max(len(launch) for _, _, launch in follower.GLANCES)
    rows = (
        f"    {{{_c(launcher)}, {_c(rank)}, {_array(map(_c, launch))}}},"
        for launcher, rank, launch in follower.GLANCES
    )
    lines = [
        "/* Made of dask_runner/node/follower.py, which gives the reasons. */",
        *(f"#define {name} {_c(text)}" for name, text in TEXTS.items()),
        *(f"#define {name} {number}" for name, number in NUMBERS.items()),
        *(
            f"static const char *const {name}[] = {_array(map(_c, texts))};"
            for name, texts in LISTS.items()
        ),
        *(
            f"static const int {name}[] = {_array(_signal(each) for each in signals)};"
            for name, signals in SIGNALS.items()
        ),
        "static const struct glance {",
        "    const char *launcher;",
        "    const char *local_rank;",
        f"    const char *launch[{width}];",
        "} GLANCES[] = {",
        *rows,
        "};",
    ]
    return "\n".join(lines) + "\n"


def _c(text: str) -> str:
    # A string of JSON in ASCII without control characters is one of C.
    return json.dumps(text)


def _array(items: Iterable[str]) -> str:
    return "{" + ", ".join(items) + "}"


def _signal(number: int) -> str:
    return signal.Signals(number).name


if __name__ == "__main__":
    sys.stdout.write(header())
