"""Measure how fast data and tasks move, once all workers are there.

This runs in the images, with four workers on two nodes. All functions come from NumPy
and the standard library, so that every program's workers can import them.
"""

from __future__ import annotations

import itertools
import operator
import time
import timeit
from statistics import median
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from dask.distributed import wait

if TYPE_CHECKING:
    from collections.abc import Callable

#: What one worker gives to another, in bytes.
MOVED = 128_000_000
#: Rows and columns of an array of float64 (288 MB), which is cut into 60 columns, as
#: many on each worker, and then into 60 rows.
SIDE, CUT = 6000, 100
MOVES, RECHUNKS, MAPS, TASKS, TRIPS = 15, 5, 3, 2000, 100
#: What a worker gives that computes in Python for a second or two, in bytes; how often;
#: and the rounds of that loop.
BUSY, BUSIES, ROUNDS = 32_000_000, 3, 100_000_000


def moved(client: Any) -> dict[str, float]:
    """Return what was measured, each a median.

    Parameters
    ----------
    client : distributed.Client
        Connected; all workers are there.

    Returns
    -------
    dict
        ``same`` and ``other``: MB a second from one worker to another of its node, and
        of another node. ``rechunk``: seconds. ``tasks``: tasks a second. ``trip``:
        milliseconds from a task's submission to its result. ``busy``: MB a second to
        another node, from a worker whose task computes in pure Python.
    """
    workers = client.scheduler_info(n_workers=-1)["workers"]
    nodes: dict[str, list[str]] = {}
    for address, worker in workers.items():
        nodes.setdefault(worker["host"], []).append(address)
    pair = next(found[:2] for found in nodes.values() if len(found) > 1)
    others = [found[0] for found in nodes.values()]
    return {
        "same": _speed(client, *pair),
        "other": _speed(client, *others),
        "rechunk": _rechunk(client, sorted(workers)),
        "tasks": TASKS / _seconds(lambda: _map(client), MAPS),
        "trip": 1000
        * _seconds(lambda: client.submit(abs, 1, pure=False).result(), TRIPS),
        "busy": _busy_speed(client, *others),
    }


def _speed(client: Any, source: str, target: str) -> float:
    seconds = [_moving(client, MOVED, source, target) for _ in range(MOVES)]
    return MOVED / 1e6 / median(seconds)


def _busy_speed(client: Any, source: str, target: str) -> float:
    def move() -> float:
        def compute() -> None:
            # Of the standard library, so that each worker has it.
            busy.append(client.submit(timeit.timeit, number=ROUNDS, **there))

        busy: list[Any] = []
        there = {"workers": [source], "pure": False}
        seconds = _moving(client, BUSY, source, target, compute)
        wait(busy)
        return seconds

    return BUSY / 1e6 / median(move() for _ in range(BUSIES))


def _moving(
    client: Any,
    nbytes: int,
    source: str,
    target: str,
    first: Callable[[], None] = lambda: None,
) -> float:
    """Return the seconds that an array takes from one worker to another."""
    there = client.submit(np.ones, nbytes, dtype="u1", workers=[source], pure=False)
    wait(there)
    first()
    began = time.perf_counter()
    size = operator.attrgetter("nbytes")
    client.submit(size, there, workers=[target], pure=False).result()
    return time.perf_counter() - began


def _rechunk(client: Any, workers: list[str]) -> float:
    array = _dealt(client, workers)
    seconds = []
    for number in range(RECHUNKS):
        began = time.perf_counter()
        result = (array + number).rechunk((CUT, SIDE)).persist()
        wait(result)
        seconds.append(time.perf_counter() - began)
        del result
    return median(seconds)


def _dealt(client: Any, workers: list[str]) -> Any:
    """Return an array whose columns are dealt to the workers in turn.

    Left to itself, a worker that has just imported NumPy gets 2 or 33 of the 60, and
    moves them: each run measured another thing.
    """
    deal = zip(range(SIDE // CUT), itertools.cycle(workers), strict=False)
    columns = [
        client.submit(np.random.random, (SIDE, CUT), workers=[worker], pure=False)
        for _, worker in deal
    ]
    parts = [da.from_delayed(column, (SIDE, CUT), "f8") for column in columns]
    array = da.concatenate(parts, axis=1).persist()
    wait(array)
    return array


def _map(client: Any) -> None:
    client.gather(client.map(abs, range(TASKS), pure=False))


def _seconds(do: Callable[[], object], times: int) -> float:
    found = []
    for _ in range(times):
        began = time.perf_counter()
        do()
        found.append(time.perf_counter() - began)
    return median(found)
