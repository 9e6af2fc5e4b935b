"""Programs of users for the tests, and what a clean run of one is."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.running import Ended

#: A clean run's lines on stderr.
LINES = 6


def script(directory: Path, text: str, name: str = "script.py") -> Path:
    path = directory / name
    path.write_text(textwrap.dedent(text))
    return path


def clean(ended: Ended) -> Ended:
    assert ended.status == 0, ended
    assert len(ended.stderr.splitlines()) <= LINES, ended
    assert "warning" not in ended.stderr.lower(), ended
    return ended


#: Prints which worker computed; "nobody" if it was the program itself.
WHO = """\
import dask, sys
from distributed import get_worker

@dask.delayed(pure=False)
def who():
    try:
        return get_worker().name
    except ValueError:
        return "nobody"

def here(_=None):
    return str(who().compute())

if __name__ == "__main__":
    print(here(), *sys.argv[1:])
"""
