"""The control groups of this process, from ``/proc`` and ``/sys``."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner.linux import mounted, read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dask_runner.linux import Mount

# Controller -> files that limit it: version 1's, then version 2's.
_LIMIT_FILES = {
    "memory": (("memory.limit_in_bytes",), ("memory.max", "memory.high")),
    "cpu": (("cpu.cfs_quota_us",), ("cpu.max",)),
}

# What counts the kernel's kills: version 2's, then version 1's.
_OOM_FILES = ("memory.events", "memory.oom_control")

# Version 1's minimum over all ancestors, the hidden ones too.
_WHOLE_WAY = "hierarchical_memory_limit"

# Slurm's group of a task, and a container's.
_OF_ONE = re.compile(r"/(task_\d+|[^/]*(apptainer|singularity|libpod)[^/]*(/\d+)?)$")


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit that a control group puts on this process.

    Attributes
    ----------
    resource : str
        "memory" or "cpu".
    group : str
        The group's path as ``/proc/self/cgroup`` would write it.
    file : str
        Name of the file in that group's directory.
    text : str
        What it said. A version 1 CPU quota and its period are joined as
        version 2 writes them: "200000 100000".
    own : bool
        Whether the rank is alone in the group: it is named as one that is made
        for a single task, and the parent process is outside of it. A parent
        inside is a rank's own launcher, with more ranks beside this one.
    """

    resource: str
    group: str
    file: str
    text: str
    own: bool = False


def limits_of(
    base: Path, cgroup: str, parent: str, mounts: tuple[Mount, ...]
) -> Iterator[Limit]:
    """Follow each line of ``/proc/self/cgroup`` up its tree, the nearest first.

    Parameters
    ----------
    base : Path
        The directory that holds ``sys``.
    cgroup : str
        Text of ``/proc/self/cgroup``.
    parent : str
        The same of the parent process, empty if unknown.
    mounts : tuple of Mount
        Where the hierarchies are mounted.

    Yields
    ------
    Limit
    """
    outside = _groups(parent)
    for resource in _LIMIT_FILES:
        for controllers, path, files, place in _hierarchies(
            base, cgroup, mounts, resource
        ):
            above = outside.get(controllers)
            for limit in _climb(*place, resource, files):
                own = (
                    limit.group == path
                    and limit.file != _WHOLE_WAY
                    and _OF_ONE.search(path) is not None
                    and above is not None
                    and not is_below(above, path)
                )
                yield replace(limit, own=own)


def oom_kills(base: Path = Path("/")) -> int:
    """Count the processes of this process's group that the kernel killed for memory.

    Version 2 counts the groups below as well (``memory.events``), version 1 the
    group alone (``memory.oom_control``, since Linux 4.13).
    """
    mounts = mounted(base / "proc")
    cgroup = read(base / "proc/self/cgroup")
    count = 0
    for _, _, _, (point, _, parts) in _hierarchies(base, cgroup, mounts, "memory"):
        for file in _OOM_FILES:
            found = re.search(
                r"^oom_kill (\d+)$", read(point.joinpath(*parts) / file), re.MULTILINE
            )
            count += int(found[1]) if found else 0
    return count


_Place = tuple[Path, str, list[str]]


def _hierarchies(
    base: Path, cgroup: str, mounts: tuple[Mount, ...], resource: str
) -> Iterator[tuple[str, str, tuple[str, ...], _Place]]:
    """Find where the groups of this process that rule a resource are mounted."""
    first, second = _LIMIT_FILES[resource]
    for controllers, path in _groups(cgroup).items():
        if not controllers:
            kind, files, option = "cgroup2", second, None
        elif resource in controllers.split(","):
            kind, files, option = "cgroup", first, resource
        else:
            continue
        places = [
            _place(base, mount, path)
            for mount in mounts
            if mount.kind == kind and option in (None, *mount.options)
        ]
        if places:
            # The mount that shows most of the way shows the group itself.
            yield controllers, path, files, max(places, key=lambda one: len(one[2]))


def _groups(cgroup: str) -> dict[str, str]:
    lines = (line.split(":", 2) for line in cgroup.splitlines())
    return {fields[1]: fields[2] for fields in lines if len(fields) == 3}  # noqa: PLR2004 - cgroups(7)


def _place(base: Path, mount: Mount, path: str) -> _Place:
    # A container may see only its own part of the tree: the mount's root says
    # which part. A path outside of it (or one with "..", from a foreign
    # namespace) leaves the mount point itself as the only group in sight.
    point = base / mount.point.lstrip("/")
    below = path.removeprefix(mount.root) if is_below(path, mount.root) else ""
    parts = [name for name in below.split("/") if name]
    if ".." in parts or not os.access(point.joinpath(*parts), os.X_OK):
        parts = []
    return point, mount.root, parts


def _climb(
    point: Path, root: str, parts: list[str], resource: str, files: tuple[str, ...]
) -> Iterator[Limit]:
    for depth in range(len(parts), -1, -1):
        here = point.joinpath(*parts[:depth])
        group = "/".join([root.rstrip("/"), *parts[:depth]]) or "/"
        for file in files:
            text = read(here / file).strip()
            if text and file == "cpu.cfs_quota_us":
                text = f"{text} {read(here / 'cpu.cfs_period_us').strip()}"
            if text:
                yield Limit(resource, group, file, text)
    if resource == "memory" and files == _LIMIT_FILES["memory"][0]:
        # Version 1 sums up the whole way here, also the part of it that a
        # container cannot see.
        stat = read(point.joinpath(*parts) / "memory.stat")
        if found := re.search(rf"^{_WHOLE_WAY} (\d+)$", stat, re.MULTILINE):
            group = "/".join([root.rstrip("/"), *parts]) or "/"
            yield Limit(resource, group, _WHOLE_WAY, found[1])


def is_below(path: str, root: str) -> bool:
    """Return whether a path is another one or lies below it."""
    return root in ("/", path) or path.startswith(root + "/")
