"""Write what is printed line by line, where a terminal would have it so.

Python keeps what is printed to a file or a pipe until 8 KiB are full: a batch job would
show nothing for minutes, and lose it when it is killed. A line at a time costs about a
microsecond more for each.
"""

from __future__ import annotations

import io
import sys


def print_by_lines() -> None:
    """Have each line that is printed written at its end; forks inherit that."""
    # It is another object in a notebook, and None where it was closed.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
