"""``dask-runner list``: the user's running clusters, asked all at once."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dask_runner.attach import clusters
from dask_runner.hub.durations import in_words
from dask_runner.printable import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dask_runner.attach.clusters import Look
    from dask_runner.hub.requests import State

#: Raised when a key changes its meaning, not when one is added.
VERSION = 1

_TITLES = (
    "NAME",
    "JOB",
    "LAUNCHER",
    "NODE",
    "WORKERS",
    "CLIENTS",
    "AGE",
    "IDLE",
    "ENDS",
)
_UNKNOWN = "-"


def look(environ: Mapping[str, str]) -> list[Look]:
    """Ask all clusters of the cluster directory.

    Raises
    ------
    ConfigError
        If the directory cannot be read.
    """
    return asyncio.run(clusters.look(environ))


def as_json(found: Sequence[Look]) -> dict[str, Any]:
    """Return the clusters for programs; the keys of each are those of ``State``."""
    return {"version": VERSION, "clusters": [_plain(one) for one in found]}


def _plain(one: Look) -> dict[str, Any]:
    named = one.entry.found
    plain: dict[str, Any] = {
        "name": one.entry.name,
        "file": str(one.entry.path),
        "answers": one.state is not None,
        "trouble": one.trouble,
        "silent_for": one.silent_for,
    }
    if named is not None:
        plain |= {
            "job_id": named.job_id,
            "launcher": named.launcher,
            "node": named.record.node,
            "began": named.began,
            "python": named.python,
            "distributed": named.distributed,
        }
    return plain | (asdict(one.state) if one.state else {})


def table(found: Sequence[Look]) -> str:
    """Return the clusters for people."""
    if not found:
        return "no clusters"
    rows = [_TITLES, *map(_row, found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, *(_trouble(one) for one in found if one.trouble)])


def _row(one: Look) -> tuple[str, ...]:
    named, state = one.entry.found, one.state
    where = (_UNKNOWN,) * 3
    if named is not None:
        where = (named.job_id or _UNKNOWN, named.launcher, named.record.node)
    if state is None:
        age = in_words(time.time() - named.began) if named is not None else _UNKNOWN
        what = (_UNKNOWN, _UNKNOWN, age, _UNKNOWN, _UNKNOWN)
    else:
        what = (
            f"{state.workers}{f' ({state.spare} spare)' if state.spare else ''}",
            _UNKNOWN if state.clients < 0 else str(state.clients),
            in_words(state.age),
            _idle(state),
            _ends(state),
        )
    # A file's name and content are the user's, but a terminal obeys what is printed.
    return tuple(map(printable, (one.entry.name, *where, *what)))


def _idle(state: State) -> str:
    if not state.ready:
        return "starting"
    return _UNKNOWN if state.idle < 0 else in_words(state.idle) if state.idle else "0 s"


def _ends(state: State) -> str:
    if state.ending:
        return "now"
    left = state.ends_at - time.time()
    return f"in {in_words(max(left, 0.0))}" if state.ends_at else _UNKNOWN


def _trouble(one: Look) -> str:
    since = f" (last sign of life {in_words(one.silent_for)} ago)"
    return printable(
        f"{one.entry.name}: {one.trouble}{since if one.silent_for else ''}"
    )
