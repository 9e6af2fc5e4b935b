"""What the benchmark has to reach, and whether it did."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Value = Callable[[Mapping[str, Any]], float | None]

OURS, PEER = "dask-runner", "SLURMRunner"
BARE = "floor: bare Python"


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of the table.

    Attributes
    ----------
    what : str
        What is measured, and against what.
    value : callable
        Takes the results; None where something was not measured.
    limit : float
    least : bool
        Whether the limit is the least that is good; if not, it is the most.
    unit : str
    """

    what: str
    value: Value
    limit: float
    least: bool = False
    unit: str = " x"

    def row(self, results: Mapping[str, Any]) -> str:
        """Return its line in Markdown."""
        value = self.value(results)
        sign = "≥" if self.least else "≤"
        goal = f"{sign} {self.limit:.3g}{self.unit}"
        if value is None:
            return f"| {self.what} | {goal} | not measured | |"
        good = value >= self.limit if self.least else value <= self.limit
        verdict = "reached" if good else "**missed**"
        return f"| {self.what} | {goal} | {value:.2f}{self.unit} | {verdict} |"


def table(results: Mapping[str, Any]) -> str:
    """Return each goal, what was measured and whether that reaches it, in Markdown.

    Parameters
    ----------
    results : mapping
        The JSON of ``ci/bench``.
    """
    head = [
        "| ours, as a share of theirs | goal | measured | |",
        "| --- | ---: | ---: | --- |",
    ]
    return "\n".join([*head, *(goal.row(results) for goal in GOALS)])


def _middle(values: Iterable[float | None]) -> float | None:
    found = list(values)
    known = [value for value in found if value is not None]
    return median(known) if known and len(known) == len(found) else None


def _of(name: str, shape: str, size: int, value: Value) -> Value:
    """Return the median of a program's runs of a size."""
    return lambda results: _middle(
        value(run)
        for run in results["runs"]
        if (run["name"], run["shape"], run["size"]) == (name, shape, size)
    )


def _share(ours: Value, theirs: Value) -> Value:
    def value(results: Mapping[str, Any]) -> float | None:
        top, bottom = ours(results), theirs(results)
        return top / bottom if top is not None and bottom else None

    return value


def _ranks(size: int, name: str, peer: str = PEER) -> Value:
    def value(run: Mapping[str, Any]) -> float | None:
        found: float | None = run[name]
        return found

    return _share(_of(OURS, "ranks", size, value), _of(peer, "ranks", size, value))


def _moved(name: str) -> Value:
    def value(run: Mapping[str, Any]) -> float | None:
        found: float | None = run["moved"].get(name)
        return found

    return _share(_of(OURS, "moved", 4, value), _of(PEER, "moved", 4, value))


def _once(where: str, name: str) -> Value:
    return lambda results: _middle(run[name] for run in results.get(where, ()))


GOALS = (
    Goal("ready, 4 ranks / SLURMRunner", _ranks(4, "ready"), 2 / 3),
    Goal("ready, 32 ranks / SLURMRunner", _ranks(32, "ready"), 1 / 4),
    Goal("ready, 32 ranks / a bare Python in each container",
         _ranks(32, "ready", BARE), 1.5),
    *(Goal(f"end, {size} ranks / SLURMRunner", _ranks(size, "closing"), 1)
      for size in (4, 8, 16)),
    Goal("end, 32 ranks / SLURMRunner", _ranks(32, "closing"), 1 / 4),
    Goal("MB/s within a node / SLURMRunner", _moved("same"), 1.2, least=True),
    Goal("MB/s to the other node / SLURMRunner", _moved("other"), 0.9, least=True),
    Goal("seconds to rechunk / SLURMRunner", _moved("rechunk"), 1),
    Goal("tasks a second / SLURMRunner", _moved("tasks"), 1, least=True),
    Goal("a task, there and back / SLURMRunner", _moved("trip"), 1),
    Goal("attach, after Dask is imported", _once("opened", "attach"), 0.3, unit=" s"),
    Goal("join of one node / start of one node",
         _share(_once("opened", "join"), _once("opened", "node")), 1),
    Goal("ready, 10,000 simulated ranks", _once("simulated", "ready"), 3, unit=" s"),
    Goal("CPU of the hub then", _once("simulated", "cpu"), 1, unit=" s"),
)  # fmt: skip
