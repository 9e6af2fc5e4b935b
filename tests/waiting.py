"""Wait for what no event tells the tests: files, output, processes of another's.

A test may be told of the end of its own child, and of nothing else: a file appears, a
text is printed in a container, a grandchild ends. So a test looks again and again, for
a time that is far longer than it takes.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


def until(
    reached: Callable[[], object],
    seconds: float = 60.0,
    context: Callable[[], object] = str,
    every: float = 0.02,
) -> None:
    """Wait until something is so; fail at the deadline.

    Parameters
    ----------
    reached : callable
        Says whether it is so.
    seconds : float
    context : callable
        Returns what a failure shows.
    every : float
        Seconds between two looks.
    """
    deadline = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s\n{context()}")
        time.sleep(every)
