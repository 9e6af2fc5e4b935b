"""Draw the benchmark's picture: seconds to ready against ranks."""

from __future__ import annotations

from collections import defaultdict
from statistics import median
from typing import TYPE_CHECKING, Any

from ci.benchmarks.report import OURS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: Ours is black and thick, floors are grey, and each of the others has a colour and a
#: mark. The colour-blind can tell the colours apart (Okabe and Ito).
OURS_COLOUR, FLOOR_COLOUR = "black", "grey"
OTHERS = (
    ("#d55e00", "s"),
    ("#0072b2", "^"),
    ("#56b4e9", "v"),
    ("#009e73", "D"),
    ("#cc79a7", "X"),
)
FLOORS = (":", "-.", "--")


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Draw seconds to ready against ranks, as PNG: ours, peers and floors.

    Parameters
    ----------
    results : mapping
        The JSON of ``ci/bench``.
    path : Path
        The file.
    """
    # Only the dependency group "bench" has it, and its import is slow.
    from matplotlib.figure import Figure  # noqa: PLC0415

    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in results["runs"]:
        if run["shape"] == "ranks" and run["ready"] is not None:
            found[run["name"]][run["size"]].append(run["ready"])
    figure = Figure(figsize=(7, 4.5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    others, floors = iter(OTHERS), iter(FLOORS)
    style: dict[str, Any]
    for name, sizes in found.items():
        if name == OURS:
            style = {"color": OURS_COLOUR, "marker": "o", "linewidth": 2.5}
        elif name.startswith("floor"):
            style = {"color": FLOOR_COLOUR, "linestyle": next(floors)}
        else:
            colour, mark = next(others)
            style = {"color": colour, "marker": mark, "linewidth": 1.2}
        seconds = [median(sizes[size]) for size in sorted(sizes)]
        axes.plot(sorted(sizes), seconds, label=name, **style)
    ticks = sorted({size for sizes in found.values() for size in sizes})
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(ticks, map(str, ticks))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("ranks (one srun, two nodes)")
    axes.set_ylabel("seconds until all workers are registered")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize="x-small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
