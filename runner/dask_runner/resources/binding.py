"""Which CPUs each of a rank's workers is bound to, if any.

Several workers of one rank are bound as a launcher would bind as many ranks: each
to cores of its own, hyper-threads together, and within one NUMA node where that
leaves none of them short. That makes sense only where these CPUs are the rank's
alone, so they are not bound

- if there is one worker (it has the rank's mask);
- if something else than the affinity mask says how many CPUs the rank has (a quota,
  a launcher's variable), or it shares its mask with others: then which ones is not
  said;
- if it has the whole node and no launcher gave it to it: others use it, too;
- if it has GPUs: which CPUs are near to them, their driver knows;
- if there are more workers than CPUs.

All CPUs are dealt out; what scheduler and client take off rank 0's share is threads
that its workers do not have, so that these two find room on any of them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dask_runner.launch.sourced import Sourced
from dask_runner.resources.amounts import nth_part
from dask_runner.resources.topology import take

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dask_runner.resources.rank_share import RankShare
    from dask_runner.resources.topology import Topology
    from dask_runner.resources.worker_share import WorkerShare

Sets = tuple[tuple[int, ...], ...]


def bind(
    share: RankShare,
    workers: Sequence[WorkerShare],
    *,
    allocated: bool,
    look: Callable[[Sequence[int]], Topology] = take,
) -> Sourced[tuple[WorkerShare, ...]]:
    """Return the CPUs that each worker is bound to; see the rules above.

    Parameters
    ----------
    share : RankShare
    workers : sequence of WorkerShare
        How the rank's share is divided among them.
    allocated : bool
        Whether a launcher gave the rank its CPUs, even if they are all of the node.
    look : callable
        Reads how the CPUs lie; only called where it matters.

    Returns
    -------
    Sourced of tuple of WorkerShare
        The source says on what cores, or why they are not bound.
    """
    if why := why_not(share, len(workers), allocated=allocated):
        return Sourced(tuple(workers), f"not bound: {why}")
    sets = worker_sets(share, len(workers), look(share.mask))
    bound = (
        replace(worker, cpus=cpus)
        for worker, cpus in zip(workers, sets.value, strict=True)
    )
    return Sourced(tuple(bound), sets.source)


def why_not(share: RankShare, workers: int, *, allocated: bool) -> str:
    """Return why the workers of a rank are not bound; "" if they are."""
    reasons = (
        (workers == 1, "one worker has all"),
        (bool(share.gpus.value.own), "the GPUs' driver knows what is near to them"),
        (not share.mask, "no affinity mask gives them to this rank alone"),
        (not (allocated or share.narrow), "the whole machine, and no launcher gave it"),
        (share.cpus.value < workers, "more workers than CPUs"),
    )
    return next((reason for holds, reason in reasons if holds), "")


def worker_sets(share: RankShare, workers: int, topology: Topology) -> Sourced[Sets]:
    """Deal out a rank's CPUs among its workers; see the rules above.

    Parameters
    ----------
    share : RankShare
    workers : int
    topology : Topology
        Of the CPUs in ``share.mask``.

    Returns
    -------
    Sourced of tuple of tuple of int
        The CPUs of each worker.
    """
    least = share.cpus.value // workers
    dealt = (way(topology, workers) for way in DEALS)
    sets = next(one for one in dealt if one and min(map(len, one)) >= least)
    cores, nodes = len(topology.cores), [number for number, _ in topology.nodes]
    source = f"{len(share.mask)} CPUs on {cores} cores of NUMA node"
    source += f"{'s' if len(nodes) > 1 else ''} {', '.join(map(str, nodes))}"
    return Sourced(tuple(tuple(sorted(one)) for one in sets), source)


def _by_node(topology: Topology, workers: int) -> list[list[int]]:
    """Deal cores so that no worker has two NUMA nodes'; none if there are too few."""
    sizes = [sum(map(len, cores)) for _, cores in topology.nodes]
    if workers < len(sizes):
        return []
    counts = _apportion(workers, sizes)
    return [
        _flat(nth_part(cores, place, count))
        for (_, cores), count in zip(topology.nodes, counts, strict=True)
        for place in range(count)
    ]


def _by_core(topology: Topology, workers: int) -> list[list[int]]:
    """Deal cores so that no two workers have threads of one core."""
    cores = topology.cores
    return [_flat(nth_part(cores, place, workers)) for place in range(workers)]


def _by_cpu(topology: Topology, workers: int) -> list[list[int]]:
    every = _flat(topology.cores)
    return [list(nth_part(every, place, workers)) for place in range(workers)]


#: How CPUs can be dealt, the best first; the last one always fits.
DEALS: tuple[Callable[[Topology, int], list[list[int]]], ...] = (
    _by_node,
    _by_core,
    _by_cpu,
)


def _flat(cores: Sequence[tuple[int, ...]]) -> list[int]:
    return [cpu for core in cores for cpu in core]


def _apportion(seats: int, sizes: Sequence[int]) -> list[int]:
    """Divide seats in proportion to sizes, at least one each (Webster's method)."""
    counts = [1] * len(sizes)
    for _ in range(seats - len(sizes)):
        neediest = max(range(len(sizes)), key=lambda n: sizes[n] / (2 * counts[n] + 1))
        counts[neediest] += 1
    return counts
