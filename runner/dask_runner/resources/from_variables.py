"""What the launcher's variables say of one rank's CPUs and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_runner.resources.amounts import MIB, divided, nth_part_size, positive_variable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dask_runner.resources.gpus import Gpus
    from dask_runner.resources.machine import Snapshot


def given_cpus(
    snapshot: Snapshot, local_size: int, local_rank: int, warnings: list[str]
) -> Iterator[tuple[int, str]]:
    """Yield each number of CPUs that a variable gives this rank, with its source."""
    count = positive_variable(snapshot.environ, "SLURM_CPUS_PER_TASK", warnings)
    if count is not None:
        yield count, f"SLURM_CPUS_PER_TASK={count}"
    # Only PBS itself gives its NCPUS a meaning; users set it to other ends.
    if "PBS_JOBID" in snapshot.environ:
        count = positive_variable(snapshot.environ, "NCPUS", warnings)
        if count is not None:
            own = nth_part_size(count, local_rank, local_size)
            yield own, divided(f"NCPUS={count}", local_size)


def given_memory(
    snapshot: Snapshot,
    local_size: int,
    count: int,
    cards: Gpus,
    warnings: list[str],
) -> Iterator[tuple[int, str]]:
    """Yield each memory in bytes that a variable gives this rank, with its source.

    Parameters
    ----------
    snapshot : Snapshot
    local_size : int
        Number of the ranks on this node.
    count : int
        This rank's CPUs.
    cards : Gpus
        This rank's GPUs.
    warnings : list of str
        Gets what was ignored.
    """
    environ = snapshot.environ
    # Every rank counts at least one CPU, also where it shares it: what the node
    # was given is the limit then.
    on_node = positive_variable(environ, "SLURM_CPUS_ON_NODE", warnings)
    fair = count if on_node is None else min(count, on_node / local_size)
    cards_each = len(cards.own) / cards.sharers
    for name, factor, words in (
        ("SLURM_MEM_PER_NODE", 1 / local_size, f"/ {local_size} ranks"),
        ("SLURM_MEM_PER_CPU", fair, f"x {fair:g} CPUs"),
        ("SLURM_MEM_PER_GPU", cards_each, f"x {cards_each:g} GPUs"),
    ):
        # "--mem=0" asks for all memory of the node.
        if environ.get(name) == "0":
            continue
        size = positive_variable(environ, name, warnings)
        if size is not None and factor:
            yield int(size * factor * MIB), f"{name}={size} MiB {words}"
