"""Which CPUs are threads of one core and near the same memory, as the kernel says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner.linux import read
from dask_runner.resources.cpusets import from_list_format

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Where a core's threads are listed, in newer kernels and in older ones.
SIBLINGS = ("core_cpus_list", "thread_siblings_list")


@dataclass(frozen=True, slots=True)
class Topology:
    """Some CPUs of a node, by NUMA node and by core.

    Attributes
    ----------
    nodes : tuple of (int, tuple of tuple of int)
        For each NUMA node that has any of the CPUs its number and its cores, each
        core the CPUs that are its threads.
    """

    nodes: tuple[tuple[int, tuple[tuple[int, ...], ...]], ...]

    @property
    def cores(self) -> tuple[tuple[int, ...], ...]:
        """All cores, those of one NUMA node beside each other."""
        return tuple(core for _, cores in self.nodes for core in cores)


def take(cpus: Sequence[int], root: str = "/") -> Topology:
    """Read how some CPUs lie; what the kernel does not say is taken as flat.

    Parameters
    ----------
    cpus : sequence of int
    root : str
        Where ``sys`` is; tests point it at trees of their own.

    Returns
    -------
    Topology
    """
    devices = Path(root) / "sys/devices/system"
    wanted = set(cpus)
    nodes = []
    for directory in sorted(devices.glob("node/node[0-9]*"), key=_number):
        near = wanted & set(_cpus(directory / "cpulist"))
        wanted -= near
        if near:
            nodes.append((_number(directory), _cores(devices, near)))
    if wanted:
        nodes.append((len(nodes), _cores(devices, wanted)))
    return Topology(tuple(nodes))


def _number(directory: Path) -> int:
    return int(directory.name.removeprefix("node"))


def _cores(devices: Path, cpus: set[int]) -> tuple[tuple[int, ...], ...]:
    cores, left = [], set(cpus)
    for cpu in sorted(cpus):
        if cpu in left:
            place = devices / f"cpu/cpu{cpu}/topology"
            threads = next(filter(None, (_cpus(place / name) for name in SIBLINGS)), ())
            core = tuple(sorted(left & {cpu, *threads}))
            left.difference_update(core)
            cores.append(core)
    return tuple(cores)


def _cpus(path: Path) -> tuple[int, ...]:
    try:
        return from_list_format(read(path))
    except ValueError:
        return ()
