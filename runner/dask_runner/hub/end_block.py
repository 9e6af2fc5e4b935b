"""The lines at the end of a run that say what it used, where there is much to say."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from dask_runner.hub.durations import in_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Seconds from which on a run that came to nothing special has something to tell.
LONG_SECONDS = 30.0
#: The part of its memory limit from which on a worker is worth a line in any run.
NEARLY_FULL = 0.9
#: Losses that are told one by one.
SHOWN = 5

_UNITS = (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))


def lines(report: Mapping[str, Any]) -> list[str]:
    """Return the lines about a run; none if there is nothing to say.

    Parameters
    ----------
    report : mapping
        What :func:`dask_runner.hub.run_report.report` returns.
    """
    run = report["seconds"]["run"]
    if run is None or not (run >= LONG_SECONDS or _is_special(report)):
        return []
    return [*_cpu(report), *_memory(report), *_work(report), *_losses(report)]


def _is_special(report: Mapping[str, Any]) -> bool:
    full = any(_fullness(worker) >= NEARLY_FULL for worker in report["workers"])
    work = report["work"] or {}
    spills = bool(work.get("bytes_spilled"))
    return bool(report["losses"]) or full or spills


def _cpu(report: Mapping[str, Any]) -> Iterator[str]:
    cpu, seconds = report["cpu"], report["seconds"]["run"]
    if cpu["share"] is None:
        return
    cpus = sum(node["cpus"] or 0 for node in report["nodes"])
    names = len({node["name"] for node in report["nodes"]})
    idle = (report["work"] or {}).get("idle")
    rest = "" if idle is None else f"; workers' threads were idle for {idle:.0%}"
    yield (
        f"used {cpu['share']:.0%} of {_many(cpus, 'CPU')} on {_many(names, 'node')} "
        f"({in_words(cpu['seconds'])} of CPU time), ran for {in_words(seconds)}{rest}"
    )


def _memory(report: Mapping[str, Any]) -> Iterator[str]:
    memory, parts = report["memory"], []
    if memory["peak"]:
        given = f" of {size(memory['allotted'])}" if memory["allotted"] else ""
        parts.append(f"at most {size(memory['peak'])}{given}")
    known = [worker for worker in report["workers"] if worker["memory_peak"]]
    if known:
        most = max(known, key=lambda one: (_fullness(one), one["memory_peak"]))
        limit = most["memory_limit"]
        of = f" of its {size(limit)}" if limit else ""
        parts.append(f"worker {most['name']} had {size(most['memory_peak'])}{of}")
    if parts:
        yield f"memory: {'; '.join(parts)}"


def _work(report: Mapping[str, Any]) -> Iterator[str]:
    work = report["work"]
    if work is None:
        return
    parts = [f"{work['tasks_done']:,} done"]
    for key, words in (
        ("tasks_erred", "failed"),
        ("tasks_computed_again", "computed again"),
        ("tasks_broken_off", "broken off"),
    ):
        if work[key]:
            parts.append(f"{work[key]:,} {words}")
    data = [
        f"{size(work[key])} {words}"
        for key, words in (
            ("bytes_moved", "moved between workers"),
            ("bytes_spilled", "spilled to disk"),
        )
        if work[key]
    ]
    yield f"tasks: {', '.join(parts)}{'; ' if data else ''}{', '.join(data)}"


def _losses(report: Mapping[str, Any]) -> Iterator[str]:
    """Say what was lost, each cause of each once."""
    losses = report["losses"]
    times = Counter((one["what"], one["name"], one["cause"]) for one in losses)
    first = {(one["what"], one["name"], one["cause"]): one for one in reversed(losses)}
    for shown, (key, number) in enumerate(times.items()):
        if shown == SHOWN:
            yield f"lost: {len(times) - SHOWN} more, which --report FILE.json lists"
            return
        one = first[key]
        often = f", {number} times" if number > 1 else ""
        yield (
            f"lost: {one['what']} {one['name']} on {one['node']} after "
            f"{in_words(one['after'])}{often}: {one['cause']}"
        )


def _fullness(worker: Mapping[str, Any]) -> float:
    peak, limit = worker["memory_peak"], worker["memory_limit"]
    return float(peak / limit) if peak and limit else 0.0


def size(number: float) -> str:
    """Return a number of bytes in words."""
    for unit, factor in _UNITS:
        if number >= factor:
            return f"{number / factor:.{0 if number >= 100 * factor else 1}f} {unit}"
    return f"{number:.0f} B"


def _many(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
