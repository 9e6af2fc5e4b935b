"""What the benchmark has to reach, and whether it did."""

from __future__ import annotations

import random
from dataclasses import dataclass
from statistics import median, stdev
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    #: Takes the results; returns what each run has, nothing where one lacks it.
    Values = Callable[[Mapping[str, Any]], Sequence[float]]

OURS, PEER = "dask-runner", "SLURMRunner"
BARE = "floor: bare Python"
#: How often runs are drawn again to see how a share varies.
DRAWN = 2000


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of the table.

    Attributes
    ----------
    what : str
        What is measured, and against what.
    values : tuple of callable
        Take the results, and return what the runs have. The median counts; of ours and
        theirs, its share.
    limit : float
    least : bool
        Whether the limit is the least that is good; if not, it is the most.
    unit : str
    """

    what: str
    values: tuple[Values, ...]
    limit: float
    least: bool = False
    unit: str = " x"

    def row(self, results: Mapping[str, Any]) -> str:
        """Return its line in Markdown.

        The noise is the standard error of what was measured. Where the limit is closer
        than that, as many runs more might have had the other result.
        """
        runs = [values(results) for values in self.values]
        sign = "≥" if self.least else "≤"
        parts = [self.what, f"{sign} {self.limit:.3g}{self.unit}"]
        if not all(runs):
            return f"| {' | '.join(parts)} | not measured | |"
        value, noise = _share([median(each) for each in runs]), _noise(runs)
        good = value >= self.limit if self.least else value <= self.limit
        verdict = "reached" if good else "**missed**"
        if abs(value - self.limit) < noise:
            verdict += ", within the noise"
        parts += [f"{value:.2f} ± {noise:.2f}{self.unit}", verdict]
        return f"| {' | '.join(parts)} |"


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


def _share(medians: Sequence[float]) -> float:
    return medians[0] / medians[1] if len(medians) > 1 else medians[0]


def _noise(runs: Sequence[Sequence[float]]) -> float:
    """Return the standard error of the share of medians, by the bootstrap."""
    draw = random.Random(0)  # noqa: S311  the same runs have the same noise
    return stdev(
        _share([median(draw.choices(each, k=len(each))) for each in runs])
        for _ in range(DRAWN)
    )


def _all(values: Sequence[float | None]) -> Sequence[float]:
    known = [value for value in values if value is not None]
    return known if len(known) == len(values) else ()


def _runs(name: str, shape: str, size: int, get: Callable[[Any], Any]) -> Values:
    """Return what a program's runs of a size have."""
    return lambda results: _all(
        [
            get(run)
            for run in results["runs"]
            if (run["name"], run["shape"], run["size"]) == (name, shape, size)
        ]
    )


def _ranks(size: int, name: str, peer: str = PEER) -> tuple[Values, Values]:
    def get(run: Mapping[str, Any]) -> Any:
        return run[name]

    return _runs(OURS, "ranks", size, get), _runs(peer, "ranks", size, get)


def _moved(name: str) -> tuple[Values, Values]:
    def get(run: Mapping[str, Any]) -> Any:
        return run["moved"].get(name)

    return _runs(OURS, "moved", 4, get), _runs(PEER, "moved", 4, get)


def _each(where: str, *names: str) -> tuple[Values, ...]:
    def values(name: str) -> Values:
        return lambda results: _all([run[name] for run in results.get(where, ())])

    return tuple(values(name) for name in names)


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
    Goal("attach, after Dask is imported", _each("opened", "attach"), 0.3, unit=" s"),
    Goal("join of one node / start of one node",
         _each("opened", "join", "node"), 1),
    Goal("ready, 10,000 simulated ranks", _each("simulated", "ready"), 3, unit=" s"),
    Goal("CPU of the hub then", _each("simulated", "cpu"), 1, unit=" s"),
)  # fmt: skip
