"""Machines for the tests: captured trees of /proc and /sys, and made-up snapshots."""

import os
from dataclasses import replace
from pathlib import Path

from dask_runner.resources.cgroups import Limit
from dask_runner.resources.machine import Snapshot, take

DATA = Path(__file__).parents[1] / "data" / "machines"
GIB = 2**30
MIB = 2**20

#: A node of 64 CPUs and 64 GiB without limits, as one unbound rank sees it.
NODE = Snapshot(
    cpus=tuple(range(64)),
    parent_cpus=tuple(range(64)),
    online=64,
    memory=64 * GIB,
    limits=(),
    directories=(),
    environ={},
)


def given(**environ: str) -> Snapshot:
    """Return the node with these variables."""
    return replace(NODE, environ=environ)


def bound(*numbers: int) -> Snapshot:
    """Return the node as a rank sees it that is bound to these CPUs."""
    return replace(NODE, cpus=numbers)


def limited(resource: str, text: str, **attributes: bool) -> Snapshot:
    """Return the node with a control group that says this."""
    return replace(NODE, limits=(Limit(resource, "/box", "file", text, **attributes),))


def captured(name: str, root: Path, **changes: object) -> Snapshot:
    """Lay out a captured tree below ``root`` and take its snapshot.

    Affinity does not come from files; ``changes`` says what it is.
    """
    text = (DATA / f"{name}.txt").read_text()
    for section in text.split("\n== ")[1:]:
        path, _, content = section.partition("\n")
        file = root / path.replace("PARENT", str(os.getppid()))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    sixteen = {
        "cpus": tuple(range(16)),
        "parent_cpus": tuple(range(16)),
        "online": 16,
    }
    return replace(take({}, root=str(root)), **(sixteen | changes))


def two_sockets(root: Path, siblings: str = "core_cpus_list") -> str:
    """Lay out two NUMA nodes of four cores with two threads each: 0-7, then 8-15."""
    devices = root / "sys/devices/system"
    for node, cpus in enumerate(("0-3,8-11", "4-7,12-15")):
        place = devices / f"node/node{node}"
        place.mkdir(parents=True)
        (place / "cpulist").write_text(f"{cpus}\n")
    for cpu in range(16):
        place = devices / f"cpu/cpu{cpu}/topology"
        place.mkdir(parents=True)
        (place / siblings).write_text(f"{cpu % 8},{cpu % 8 + 8}\n")
    return str(root)
