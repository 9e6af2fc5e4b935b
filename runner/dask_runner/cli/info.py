"""``dask-runner info``: every value that a run would use, and where it comes from."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from dask_runner.launch import config_files
from dask_runner.launch.detect import detect, explain
from dask_runner.launch.handed_out import asked, counted
from dask_runner.launch.settings import configured, settle
from dask_runner.launch.walltime import job_end
from dask_runner.meeting import claims, cluster_directory
from dask_runner.mpi import image
from dask_runner.packages import described as packages
from dask_runner.resources.amounts import in_words
from dask_runner.resources.binding import bind
from dask_runner.resources.cpusets import in_list_format
from dask_runner.resources.machine import take
from dask_runner.resources.rank_share import rank_share
from dask_runner.resources.scratch import scratch
from dask_runner.resources.worker_share import worker_shares

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_runner.launch.handed_out import Asked
    from dask_runner.launch.settings import Settings
    from dask_runner.resources.rank_share import RankShare
    from dask_runner.resources.worker_share import WorkerShare

#: Section → name → value and source, all as text.
Info = dict[str, dict[str, dict[str, str]]]

#: Bytes for programs, a number with a unit for people.
_SIZES = {
    ("resources", name)
    for name in ("memory", "memory given", "memory taken", "memory a worker")
}


def collect(environ: Mapping[str, str], launcher: str) -> Info:
    """Return everything that a run would detect, without starting anything.

    Raises
    ------
    ConfigError, UsageError
        Where a run would raise them.
    """
    settings = settle({"launcher": launcher}, configured(environ))
    handed = asked(environ, settings)
    if handed is not None and counted(environ, settings, handed) is None:
        world, launch = None, _handed_out(handed, settings, environ)
    else:
        world = detect(environ, settings.launcher)
        launch = explain(environ, settings.launcher)
    snapshot = take(environ, settings.local_directory)
    local_size = (world and world.local_size) or 1
    hosts_hub = settings.layout == "shared" and (world is None or world.rank == 0)
    local_rank = (world and world.local_rank) or 0
    share = rank_share(snapshot, local_size, local_rank, hosts_hub=hosts_hub)
    workers = worker_shares(
        share, settings.nworkers, settings.nthreads, settings.memory_limit
    )
    allocated = world is not None and world.launcher != "local"
    bound = bind(share, workers.value, allocated=allocated)
    place = scratch(snapshot)
    each = "; ".join(
        f"{worker.nthreads} {'thread' if worker.nthreads == 1 else 'threads'}, "
        f"{in_words(worker.memory_limit) if worker.memory_limit else 'no limit'}"
        for worker in workers.value
    )
    found: Info = {
        "launch": {name: _row(value, source) for name, value, source in launch}
        | {"job ends": _job_end(environ)},
        "resources": {
            "cpus": _row(share.cpus.value, share.cpus.source),
            "memory": _row(share.memory.value, share.memory.source),
            **_memory(share, workers.value),
            "gpus": _row(",".join(share.gpus.value.own) or "none", share.gpus.source),
            "workers": _row(each, workers.source),
            "binding": _row(
                "; ".join(in_list_format(one.cpus) or "all" for one in bound.value),
                bound.source,
            ),
            "scratch": _row(place.path, place.source),
        },
        "packages": {
            name: _row(value, source)
            for name, value, source in packages.described(
                settings.package_cache, environ
            )
        },
        "configuration": {
            name: _row(value, source)
            for name, value, source in config_files.described(environ)
        }
        | _fixed(settings),
        "clusters": {"directory": _row(*cluster_directory.described(environ))},
        "options": {
            key: _row(setting.value, setting.source) for key, setting in settings
        },
    }
    if facts := image.facts():
        found["image"] = {
            name: _row(value, source)
            for name, value, source in image.describe(environ, facts)
        }
    warnings = (*share.warnings, *workers.warnings, *place.warnings)
    if warnings:
        found["warnings"] = {
            str(number): _row(text, "") for number, text in enumerate(warnings, 1)
        }
    return found


def _fixed(settings: Settings) -> dict[str, dict[str, str]]:
    """Return the row of what the site has fixed, if it has."""
    names = [key.replace("_", "-") for key, setting in settings if setting.site]
    why = "by the site: no flag, variable or file of yours undoes it"
    return {"fixed": _row(", ".join(names), why)} if names else {}


def _memory(
    share: RankShare, workers: tuple[WorkerShare, ...]
) -> dict[str, dict[str, str]]:
    """Return what becomes of the rank's memory, from what it was given on."""
    limits = [one.memory_limit for one in workers if one.memory_limit]
    found = {
        "memory given": _row(share.given.value, share.given.source),
        "memory taken": _row(share.taken_memory, "for scheduler and client"),
    }
    if limits:
        left = in_words(share.memory.value - sum(limits))
        count = f"each of {len(workers)}; {left} are left to nannies and the rank"
        found["memory a worker"] = _row(limits[0], count)
    return found


def _handed_out(
    asked: Asked, settings: Settings, environ: Mapping[str, str]
) -> list[tuple[str, str, str]]:
    """Return what is known of a launch in which ranks are handed out."""
    where = str(claims.place(environ, settings.scheduler_file))
    if settings.meet:
        where = "tcp://{}:{}".format(*settings.meet)
    return [
        ("launcher", asked.system, "no launcher counts the ranks"),
        ("rank", "handed out", "by the process that comes first"),
        ("size", str(asked.size), asked.source),
        ("job_id", asked.job_id or "unknown", ""),
        ("key", asked.key, asked.source),
        ("meeting", where, dict(settings)["meet" if settings.meet else "size"].source),
    ]


def _job_end(environ: Mapping[str, str]) -> dict[str, str]:
    end = job_end(environ)
    if end.value is None:
        return _row("no time limit" if end.source else "unknown", end.source)
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(end.value))
    return _row(when, end.source)


def _row(value: object, source: str) -> dict[str, str]:
    return {"value": str(value), "source": source}


def table(found: Info) -> str:
    """Return it for people, one line for each value."""
    lines = []
    for section, rows in found.items():
        lines.append(f"{section}:")
        width = max(map(len, rows), default=0)
        for name, row in rows.items():
            source = f"  ({row['source']})" if row["source"] else ""
            value = row["value"]
            if (section, name) in _SIZES:
                value = in_words(int(value))
            lines.append(f"  {name:<{width}}  {value}{source}")
    return "\n".join(lines)
