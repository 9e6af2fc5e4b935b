"""Do what every program of the benchmark does once it has a client.

This runs in the images. It writes the files ``ready``, ``pids`` and ``end`` to the
directory ``BENCH_DIRECTORY``, each at its moment. Before the last it waits for the file
``go``, while the processes are measured from outside.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

PLACE = Path(os.environ.get("BENCH_DIRECTORY", "."))
#: Number of workers to wait for.
WORKERS = int(os.environ.get("BENCH_WORKERS", "1"))
TASKS = 100
MEASURE_NOW = "bench: measure now"
POLL = 0.05


def _note(name: str, value: Any) -> None:
    aside = PLACE / f".{name}"
    aside.write_text(json.dumps(value))
    aside.replace(PLACE / name)


def measured(client: Any) -> None:
    """Wait for all workers, use them, wait for ``go``.

    Parameters
    ----------
    client : distributed.Client
        Connected.
    """
    client.wait_for_workers(WORKERS)
    _note("ready", time.time())
    # Nothing of this module: `dask worker` by hand could not import it.
    total = sum(client.gather(client.map(abs, range(TASKS))))
    if total != sum(range(TASKS)):
        raise SystemExit(f"a wrong result: {total}")
    found = client.run(_where)
    _note("pids", sorted(found.values()))
    if "BENCH_MOVED" in os.environ:
        from moved import moved  # noqa: PLC0415  it imports NumPy, which takes time

        _note("moved", moved(client))
    print(MEASURE_NOW, flush=True)  # noqa: T201  the benchmark waits for it
    while not (PLACE / "go").exists():
        time.sleep(POLL)
    _note("end", time.time())


def _where() -> tuple[str, int]:
    import os  # noqa: PLC0415  this function travels without its module
    import socket  # noqa: PLC0415

    return socket.gethostname(), os.getpid()


# Functions of a module travel by name; this one has to travel by value.
_where.__module__ = "__main__"
