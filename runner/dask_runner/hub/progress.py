"""How far the tasks are: a bar on a terminal, a plain line now and then in a log.

A run of less than half a minute has no line, and a cluster that computes nothing has
none either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_runner.hub.end_block import size

if TYPE_CHECKING:
    from dask_runner.hub import messages as m
    from dask_runner.hub.report import Reporter

#: Seconds until the first line, and between two lines at least where a tenth more is
#: done, and at most while something is done.
FIRST_SECONDS, STEP_SECONDS, MOST_SECONDS = 30.0, 10.0, 30.0
#: In a long run the lines become fewer: this part of its age is between two.
PART_OF_AGE = 1 / 50
#: The part of all tasks that is worth a line.
STEP = 0.1
#: Characters of the bar.
WIDTH = 24


class Progress:
    """Shows how far the tasks are.

    Parameters
    ----------
    prints : Reporter
    terminal : bool
        Whether there is a terminal for a bar.
    """

    def __init__(self, prints: Reporter, *, terminal: bool) -> None:
        self._prints = prints
        self._terminal = terminal
        self._printed = FIRST_SECONDS - MOST_SECONDS
        self._done = 0
        self._part = 0.0

    def moves(self, work: m.Work, seconds: float) -> None:
        """Show what is done by now, so many seconds after the cluster was ready."""
        if self._terminal:
            # Tasks that failed, or are kept, are no reason to stay.
            self._prints.bar(bar(work) if finished(work) < work.known else "")
        elif self._is_due(work, seconds):
            self._printed, self._done = seconds, finished(work)
            self._part = part(work)
            self._prints.note(in_words(work))

    def _is_due(self, work: m.Work, seconds: float) -> bool:
        if finished(work) == self._done or seconds < FIRST_SECONDS:
            return False
        since = seconds - self._printed
        step = abs(part(work) - self._part) >= STEP
        pause = max(STEP_SECONDS if step else MOST_SECONDS, seconds * PART_OF_AGE)
        return since >= pause


def finished(work: m.Work) -> int:
    """Return the tasks that nothing is left to do about."""
    return work.done + work.erred


def part(work: m.Work) -> float:
    """Return the part of the known tasks that is finished."""
    return finished(work) / work.known if work.known else 0.0


def in_words(work: m.Work) -> str:
    """Return the line of a log."""
    failed = f", {work.erred:,} failed" if work.erred else ""
    workers = f"{work.workers} worker{'' if work.workers == 1 else 's'}"
    return (
        f"{part(work):.0%}: {finished(work):,} of {work.known:,} tasks{failed}; "
        f"{workers}, {size(work.memory)}"
    )


def bar(work: m.Work) -> str:
    """Return the line of a terminal."""
    full = int(part(work) * WIDTH)
    return f"{'━' * full}{'╌' * (WIDTH - full)} {in_words(work)}"
