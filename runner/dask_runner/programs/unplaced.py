"""Tells of tasks that wait for a worker which is not there.

A task may ask for a worker, a host or resources. Dask keeps it until a worker comes
that fits, and says nothing: a mistyped name looks like a cluster that hangs.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from distributed.metrics import monotonic

from dask_runner.printable import printable

if TYPE_CHECKING:
    import distributed

#: Seconds that a task waits before it is told: a worker may be starting again.
PATIENCE_SECONDS = 20.0
#: Tasks that are looked at each time, of which there may be a million.
MOST_LOOKED_AT = 100
#: Lines of a cluster at most.
MOST_LINES = 5
#: Characters of a task's key, and of what it asks for, at most.
MOST_CHARACTERS = 80


class Unplaced:
    """The tasks that no worker may take.

    Parameters
    ----------
    scheduler : Scheduler
    """

    def __init__(self, scheduler: distributed.Scheduler) -> None:
        self._scheduler = scheduler
        self._told: set[str] = set()

    def news(self) -> str:
        """Return a line about one that has waited too long; "" if all were told."""
        late = monotonic() - PATIENCE_SECONDS
        # Dask notes them in the order in which they began to wait.
        for task, began in islice(self._scheduler.unrunnable.items(), MOST_LOOKED_AT):
            if began > late or len(self._told) == MOST_LINES:
                break
            asked = _asked(task)
            if asked and asked not in self._told:
                self._told.add(asked)
                return (
                    f"task {_short(task.key)} waits for {asked}, and no running worker "
                    "is that or has it; it waits until one comes"
                )
        return ""


def _asked(task: Any) -> str:
    """Return what a task asks for; "" if any worker would do."""
    # A name that Dask does not know may also be a host's.
    places = {*(task.worker_restrictions or ()), *(task.host_restrictions or ())}
    resources = task.resource_restrictions or {}
    asked = []
    if places:
        asked.append(f"worker {_short(' or '.join(sorted(map(str, places))))}")
    if resources:
        words = ", ".join(f"{name}={amount:g}" for name, amount in resources.items())
        asked.append(f"resources {_short(words)}")
    return " with ".join(asked)


def _short(text: object) -> str:
    return printable(str(text), MOST_CHARACTERS)
