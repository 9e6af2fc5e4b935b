"""Write the benchmark's results as tables in Markdown."""

from __future__ import annotations

from collections import defaultdict
from statistics import median
from typing import TYPE_CHECKING, Any

from ci.benchmarks import goals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

SHAPES = {
    "ranks": "One srun, so many ranks on two nodes",
    "one task a node": "One task on each of two nodes, so many workers",
}
OURS = "dask-runner"
MIB = 1 << 20


def table(results: Mapping[str, Any]) -> str:
    """Return all results as a page in Markdown.

    Parameters
    ----------
    results : mapping
        The JSON of ``ci/bench``.
    """
    notes = [f"- {note}" for note in results.get("notes", ())]
    parts = ["# The benchmark", facts(results), *filter(None, ["\n".join(notes)])]
    for shape, title in SHAPES.items():
        runs = [run for run in results["runs"] if run["shape"] == shape]
        if runs:
            parts += [f"**{title}**", _shape(runs)]
    if those := [run for run in results["runs"] if run["shape"] == "moved"]:
        parts += [f"**{those[0]['size']} workers on two nodes**", moved(those)]
    parts += ["**Goals**", goals.table(results)]
    if results["home_calls"]:
        parts += [
            (
                "**File-system calls on the shared home, a rank, with "
                f"{results['home_calls_ranks']} ranks** (strace in the container)"
            ),
            rows(
                ("program", "calls"),
                (
                    (name, "did not end" if calls is None else f"{calls:.0f}")
                    for name, calls in results["home_calls"].items()
                ),
            ),
        ]
    return "\n\n".join(parts) + "\n"


def facts(results: Mapping[str, Any]) -> str:
    """Return when, on what and with which versions was measured."""
    versions = ", ".join(f"{name} {text}" for name, text in results["versions"].items())
    machine = results["machine"]
    return (
        f"{results['date']}; {versions}. {machine['cpus']} CPUs, "
        f"{machine['memory'] / (1 << 30):.0f} GiB, load before "
        f"{machine['load_before']:.1f}, after {machine['load_after']:.1f}."
    )


def _shape(runs: Sequence[Mapping[str, Any]]) -> str:
    sizes = sorted({run["size"] for run in runs})
    found: dict[tuple[str, int], list[Mapping[str, Any]]] = defaultdict(list)
    for run in runs:
        found[run["name"], run["size"]].append(run)
    names = list(dict.fromkeys(run["name"] for run in runs))
    parts = []
    for title, value, what, floors in MEASURES:
        lines = []
        for name in names:
            if name.startswith("floor") and not floors:
                continue
            cells = [
                _cell(found[name, size], found[OURS, size], value, what)
                for size in sizes
            ]
            lines.append((name, *cells))
        parts.append(rows((title, *map(str, sizes)), lines))
    return "\n\n".join(parts)


def _cell(
    runs: Sequence[Mapping[str, Any]],
    ours: Sequence[Mapping[str, Any]],
    value: Callable[[Mapping[str, Any]], float | None],
    what: str,
) -> str:
    if not runs:
        return ""
    values = [found for run in runs if (found := value(run)) is not None]
    if len(values) < len(runs):
        return "no" if not values else f"no ({len(runs) - len(values)} of {len(runs)})"
    text = what.format(median(values))
    if len(values) > 1:
        text += f" ± {what.format((max(values) - min(values)) / 2)}"
    reference = [found for run in ours if (found := value(run)) is not None]
    name = runs[0]["name"]
    if reference and name != OURS and not name.startswith("floor"):
        text += f" ({median(values) / median(reference):.1f} x)"
    return text


def moved(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return what moves between workers: a line for each program."""
    found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for run in runs:
        found[run["name"]].append(run)
    lines = [
        (name, *(_cell(those, found[OURS], value, what) for _, value, what in MOVED))
        for name, those in found.items()
    ]
    return rows(("", *(title for title, _, _ in MOVED)), lines)


def _memory(name: str) -> Callable[[Mapping[str, Any]], float | None]:
    def value(run: Mapping[str, Any]) -> float | None:
        if not run["memory"]:
            return None
        return float(run["memory"][name] / MIB / run["workers"])

    return value


#: Heading, value of a run, format, whether floors have it.
MEASURES: tuple[
    tuple[str, Callable[[Mapping[str, Any]], float | None], str, bool], ...
] = (
    ("seconds to ready", lambda run: run["ready"], "{:.1f}", True),
    ("seconds to the end", lambda run: run["closing"], "{:.1f}", False),
    ("lines on stderr", lambda run: run["stderr"] if run["ready"] else None, "{:.0f}",
     False),
    ("MiB a worker (PSS)", _memory("workers"), "{:.0f}", False),
    ("MiB a worker of all Python (PSS)", _memory("python"), "{:.0f}", False),
)  # fmt: skip


def _measured(name: str) -> Callable[[Mapping[str, Any]], float | None]:
    return lambda run: run["moved"].get(name)


#: Heading, value of a run, format.
MOVED: tuple[tuple[str, Callable[[Mapping[str, Any]], float | None], str], ...] = (
    ("MB/s within a node", _measured("same"), "{:.0f}"),
    ("MB/s to the other node", _measured("other"), "{:.0f}"),
    ("MB/s from a busy worker there", _measured("busy"), "{:.0f}"),
    ("s to rechunk 288 MB", _measured("rechunk"), "{:.2f}"),
    ("tasks a second", _measured("tasks"), "{:.0f}"),
    ("ms a task, there and back", _measured("trip"), "{:.2f}"),
)


def rows(head: Sequence[str], cells: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
