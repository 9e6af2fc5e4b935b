"""The benchmark's picture: seconds to ready against ranks."""

from __future__ import annotations

from collections import defaultdict
from statistics import median
from typing import TYPE_CHECKING, Any

from ci.bench_report import OURS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

#: A tone that is dark enough on white and light enough on a dark page.
STRONG, FAINT = "#d1495b", "#8d99ae"


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Draw ready against ranks, ours, peers and floors, as PNG.

    Parameters
    ----------
    results : mapping
        What ``ci/bench`` writes as JSON.
    path : Path
        The file.
    """
    # Of the dependency group "bench" alone, and slow to import.
    from matplotlib.figure import Figure  # noqa: PLC0415

    found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in results["runs"]:
        if run["shape"] == "ranks" and run["ready"] is not None:
            found[run["name"]][run["size"]].append(run["ready"])
    figure = Figure(figsize=(7, 4.5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for number, (name, sizes) in enumerate(found.items()):
        ours, floor = name == OURS, name.startswith("floor")
        axes.plot(
            sorted(sizes),
            [median(sizes[size]) for size in sorted(sizes)],
            label=name,
            marker="" if floor else "os^Dv"[number % 5],
            linestyle=":" if floor else "-",
            color=STRONG if ours else FAINT if floor else None,
            linewidth=2.5 if ours else 1.2,
        )
    ticks = sorted({size for sizes in found.values() for size in sizes})
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xticks(ticks, map(str, ticks))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("ranks (one srun, two nodes)")
    axes.set_ylabel("seconds until all workers are registered")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
