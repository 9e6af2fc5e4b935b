"""The report of a run, as plain values: ``--report FILE.json``, and what is printed.

``report.schema.json`` beside this module says what each value is, and
``docs/report.md`` explains it. A value that is not known is None, and ``unknown`` says
why in words.
"""

from __future__ import annotations

import platform
import re
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dask_runner.hub.history import History, NodeHistory
    from dask_runner.hub.messages import Usage

#: Raised when a value changes its meaning or goes; new ones may come without.
VERSION = 1

#: The packages whose versions are in the report.
PACKAGES = ("dask-runner", "dask", "distributed")
#: Seconds after which the last figures of what is lost are called old.
OLD_SECONDS = 3.0


def report(history: History) -> dict[str, Any]:
    """Return the report of a run, of what is known by now."""
    now = history.age
    in_order = sorted(history.nodes, key=lambda node: node.order)
    nodes = [_node(history.nodes[one], now) for one in in_order]
    used, allotted = _sum(nodes, "cpu_seconds"), _sum(nodes, "cpu_seconds_allotted")
    return {
        "version": VERSION,
        "final": history.ended is not None,
        "written": _time(history.began + now),
        "cluster": {
            "name": history.name or None,
            "launcher": history.world.launcher,
            "job": history.world.job_id or None,
            "ranks": history.world.size,
            "layout": history.layout,
        },
        "status": history.status,
        "cause": history.cause or None,
        "seconds": _seconds(history, now),
        "began": _time(history.began),
        "cpu": {
            "seconds": used,
            "seconds_allotted": allotted,
            "share": _share(used, allotted),
        },
        "memory": {
            "peak": _sum(nodes, "memory_peak"),
            "allotted": _sum(nodes, "memory"),
        },
        "nodes": nodes,
        "workers": _workers(history),
        "work": _work(history),
        "losses": [asdict(one) for one in history.losses],
        "losses_left_out": history.losses_left_out,
        "timeline": _timeline(history),
        "versions": _versions(),
        "unknown": [*_unknown(history, now)],
    }


def _seconds(history: History, now: float) -> dict[str, float | None]:
    """Return the seconds of the start, of the run and of the end."""
    ready, decided = history.ready, history.decided
    last = decided if decided is not None else now
    return {
        "start": _rounded(ready),
        "run": None if ready is None else _rounded(last - ready),
        "end": None if decided is None else _rounded((history.ended or now) - decided),
        "total": _rounded(history.ended or now),
    }


def _node(one: NodeHistory, now: float) -> dict[str, Any]:
    usage, until = one.usage, now if one.gone is None else one.gone
    cpus = usage.cpus if usage else None
    return {
        "name": one.name,
        "join": one.join or None,
        "seconds": _rounded(until - one.came),
        "lost": one.lost or None,
        "cpus": cpus,
        "cpu_seconds": _rounded(usage.cpu) if usage else None,
        "cpu_seconds_allotted": _rounded(cpus * (until - one.came)) if cpus else None,
        "memory": usage.given if usage else None,
        "memory_taken": usage.taken if usage else None,
        "memory_peak": _most(usage) if usage else None,
        "final": one.final,
    }


def _most(usage: Usage) -> int | None:
    """Return the most memory of a node, which is no less than a worker's.

    A worker may grow and be killed between two looks at the node.
    """
    return max(usage.peak, *(worker.peak for worker in usage.workers), 0) or None


def _workers(history: History) -> list[dict[str, Any]]:
    deaths: dict[str, int] = {}
    for loss in history.losses:
        if loss.what == "worker":
            deaths[loss.name] = deaths.get(loss.name, 0) + 1
    workers = [
        {
            "name": worker.name,
            "node": node.name,
            "threads": worker.nthreads,
            "memory_limit": worker.memory_limit or None,
            "memory_peak": worker.peak or None,
            "deaths": deaths.get(worker.name, 0),
        }
        for node in history.nodes.values()
        if node.usage is not None
        for worker in node.usage.workers
    ]
    return sorted(workers, key=_order)


def _order(worker: dict[str, Any]) -> list[tuple[bool, int, str]]:
    """Return what to compare: numbers in a name are numbers."""
    parts = re.findall(r"\d+|\D+", worker["name"])
    return [
        (not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts
    ]


def _work(history: History) -> dict[str, Any] | None:
    work = history.work
    if work is None:
        return None
    return {
        "tasks_done": work.done,
        "tasks_erred": work.erred,
        "tasks_computed_again": work.again,
        "tasks_broken_off": work.broken_off,
        "thread_seconds": _rounded(work.computed),
        "idle": _idle(history),
        "bytes_moved": work.moved,
        "bytes_spilled": work.spilled,
        "final": history.work_final,
    }


def _idle(history: History) -> float | None:
    """Return the share of the workers' threads that had no task, while it ran.

    How many threads there were is known from one moment to the next.
    """
    if history.ready is None or history.work is None:
        return None
    threads = history.moments[0].work.nthreads if history.moments else 0
    last, there = history.ready, 0.0
    for moment in history.moments:
        if moment.after > last:
            there += threads * (moment.after - last)
            last = moment.after
        threads = moment.work.nthreads or threads
    until = history.work_told if history.decided is None else history.decided
    there += threads * max(until - last, 0.0)
    share = _share(history.work.computed, there)
    return None if share is None else round(max(1.0 - share, 0.0), 4)


def _timeline(history: History) -> dict[str, list[float]]:
    moments = history.moments
    return {
        "seconds": [round(one.after, 1) for one in moments],
        "running": [one.work.running for one in moments],
        "threads": [one.work.nthreads for one in moments],
        "workers": [one.work.workers for one in moments],
        "memory": [one.work.memory for one in moments],
    }


def _unknown(history: History, now: float) -> Iterator[str]:
    for node in history.nodes.values():
        where = f"{node.name} of join {node.join}" if node.join else node.name
        until = node.gone if node.gone is not None else now
        if node.usage is None:
            yield f"what {where} used: it has told nothing"
        elif not node.final and until - node.told > OLD_SECONDS:
            yield f"what {where} used in its last {until - node.told:.0f} s"
    if history.work is None:
        if history.ready is not None:
            yield "tasks and data: the scheduler has told nothing"
    elif history.ended is not None and not history.work_final:
        age = (history.decided or now) - history.work_told
        last = f"the last {max(age, 0.0):.0f} s"
        yield f"tasks and data of {last}: the scheduler was gone"
    if history.status is None:
        yield "how the run ends: it was running when this was written"


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a checkout
            found[name] = "unknown"
    return found


def _sum(nodes: list[dict[str, Any]], key: str) -> Any:
    """Return the sum of a value over all nodes; None if no node has it."""
    known = [node[key] for node in nodes if node[key] is not None]
    return round(sum(known), 3) if known else None


def _share(part: float | None, whole: float | None) -> float | None:
    return round(part / whole, 4) if part is not None and whole else None


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
