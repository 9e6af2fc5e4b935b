"""What one rank may use of its node: CPUs, memory and GPUs, each with its source.

Pure functions of a :class:`~dask_runner.resources.machine.Snapshot`. The rules:

**Whose is a limit?** A limit that covers several ranks of a node is divided by
their number; a limit of this rank alone is not. Where nothing proves that a
limit is this rank's own, it is divided: too little is slow, too much is killed.

- A control group is the rank's own if it is named as one task's (``task_N`` of a
  Slurm step, a container's) and the parent process is outside of it.
- Affinity masks that are known of all local ranks decide: a CPU that only one
  may use is its own, and those that several share are dealt out evenly
  (:func:`dask_runner.resources.cpusets.deal`). Otherwise a mask is the rank's own if
  the parent process has a wider one; or if it leaves out some of the node's CPUs and
  Slurm gave the node at least this many for each local rank. A rank with a part of the
  node's CPUs that none of this proves its own asks for the others' masks when it
  registers at the hub (:func:`knows_its_cpus`).

**CPUs** are hardware threads in the affinity mask, as Dask counts them; then at
most the CPU quotas on the way up the cgroup tree (rounded down), then what the
launcher's variables say. Never fewer than one.

**Memory** is the minimum of the limits on the way up the cgroup tree and of the
node's memory divided by its ranks. Slurm's variables count only where no limit
of a Slurm job's control group is in sight: in a step they may be the job's
instead of the step's (``SLURM_MEM_PER_NODE`` leaks into ``srun
--mem-per-cpu``). ``SLURM_MEM_PER_NODE`` is divided by the local ranks,
``SLURM_MEM_PER_CPU`` multiplied by the rank's CPUs, ``SLURM_MEM_PER_GPU`` by
its GPUs. In any case the step's own memory counts, which Slurm sets as ``ulimit -m``
(Dask heeds that for each worker alone).

**Scheduler and client** (layout ``shared``, rank 0) take from rank 0's share one
CPU of 2 to 15, two of 16 or more; and an eighth of the memory, at least 512 MiB
and at most 8 GiB, but never more than half.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import TYPE_CHECKING

from dask_runner.launch.sourced import Sourced
from dask_runner.resources.amounts import (
    GIB,
    MIB,
    divided,
    in_words,
    nth_part,
    nth_part_size,
    positive_number,
    positive_variable,
)
from dask_runner.resources.cpusets import deal
from dask_runner.resources.from_variables import given_cpus, given_memory
from dask_runner.resources.gpus import Gpus, gpus

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dask_runner.resources.cgroups import Limit
    from dask_runner.resources.machine import Snapshot

#: The source of what Slurm gives a step, whether or not a variable tells of it.
STEP_MEMORY = "memory of the Slurm step, ulimit -m"
#: Limits from here on mean "none": version 1 writes 2**63 less a page.
UNLIMITED = 2**60

_SLURM_GROUP = re.compile(r"/job_\d+(/|$)")


@dataclass(frozen=True, slots=True)
class RankShare:
    """What the workers of one rank may use together.

    Attributes
    ----------
    cpus, memory, gpus : Sourced
    mask : tuple of int
        The rank's CPUs, if these are its alone and all that it may use; those of
        scheduler and client are among them.
    narrow : bool
        Whether they are only a part of the node's.
    taken_cpus, taken_memory : int
        What scheduler and client have of that rank's, beside it.
    memory_source : str
        What the memory is from, before they have taken theirs.
    """

    cpus: Sourced[int]
    memory: Sourced[int]
    gpus: Sourced[Gpus]
    mask: tuple[int, ...] = ()
    narrow: bool = False
    taken_cpus: int = 0
    taken_memory: int = 0
    memory_source: str = ""

    @property
    def given(self) -> Sourced[int]:
        """The memory that the launcher has given, before any is taken off."""
        source = self.memory_source or self.memory.source
        return Sourced(self.memory.value + self.taken_memory, source)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was ignored while looking, each once."""
        every = self.cpus.warnings + self.memory.warnings + self.gpus.warnings
        return tuple(dict.fromkeys(every))


def rank_share(
    snapshot: Snapshot,
    local_size: int,
    local_rank: int = 0,
    *,
    hosts_hub: bool = False,
    masks: Sequence[Sequence[int]] | None = None,
) -> RankShare:
    """Work out one rank's share of its node.

    Parameters
    ----------
    snapshot : Snapshot
        The machine as this rank sees it.
    local_size, local_rank : int
        Number of the ranks on this node, and this rank among them.
    hosts_hub : bool
        True for rank 0 in layout ``shared``: scheduler and client take a part.
    masks : sequence of sequence of int, optional
        Affinity masks of all local ranks in order, once they are known.

    Returns
    -------
    RankShare
    """
    count = cpus(snapshot, local_size, local_rank, masks)
    share = RankShare(
        count,
        memory(snapshot, local_size, local_rank, masks),
        gpus(snapshot, local_size, local_rank),
        snapshot.cpus if count.value == len(snapshot.cpus) else (),
        len(snapshot.cpus) < snapshot.online,
    )
    return without_hub(share) if hosts_hub else share


def cpus(
    snapshot: Snapshot,
    local_size: int,
    local_rank: int = 0,
    masks: Sequence[Sequence[int]] | None = None,
) -> Sourced[int]:
    """Count the CPUs of one rank, at least one; see the rules above."""
    warnings: list[str] = []
    # Of equal values the first names the source.
    value, source = min(
        (
            *_from_affinity(snapshot, local_size, local_rank, masks, warnings),
            *_quotas(snapshot, local_size, local_rank, warnings),
            *given_cpus(snapshot, local_size, local_rank, warnings),
        ),
        key=itemgetter(0),
    )
    if value < 1:
        # Not from what: ranks may differ in that, and it is said once for all.
        warnings.append(
            "there are more ranks than CPUs, which share these; start fewer ranks, or "
            "ask for more CPUs"
        )
    return Sourced(max(1, value), source, tuple(warnings))


def knows_its_cpus(snapshot: Snapshot, local_size: int) -> bool:
    """Return whether a rank can tell its CPUs without the masks of the others.

    It can if its mask is its own, or is no binding at all; but a part of the node
    may be its own or shared with some.
    """
    unbound = len(_mask(snapshot)) >= snapshot.online
    return unbound or _owns_its_mask(snapshot, local_size)


def _mask(snapshot: Snapshot) -> tuple[int, ...]:
    return snapshot.cpus or tuple(range(snapshot.online))


def _owns_its_mask(snapshot: Snapshot, local_size: int) -> bool:
    mask = _mask(snapshot)
    if local_size == 1 or set(mask) < set(snapshot.parent_cpus):
        return True
    on_node = positive_variable(snapshot.environ, "SLURM_CPUS_ON_NODE", []) or 0
    # A mask of all CPUs is no binding, whatever Slurm believes the node has.
    return len(mask) < snapshot.online and len(mask) * local_size <= on_node


def memory(
    snapshot: Snapshot,
    local_size: int,
    local_rank: int = 0,
    masks: Sequence[Sequence[int]] | None = None,
) -> Sourced[int]:
    """Find the memory of one rank in bytes; see the rules above."""
    warnings: list[str] = []
    total = snapshot.memory or GIB * local_size
    best = Sourced(total // local_size, divided("memory of the node", local_size))
    if not snapshot.memory:
        warnings.append("the node's memory is unknown: 1 GiB a rank is assumed")
    in_slurm_group = False
    for limit in _limits(snapshot, "memory"):
        size = positive_number(
            limit.text, f"cgroup {limit.group} {limit.file}", warnings
        )
        if size is None or size >= UNLIMITED:
            continue
        in_slurm_group = in_slurm_group or bool(_SLURM_GROUP.search(limit.group))
        ranks = 1 if limit.own else local_size
        if size // ranks < best.value:
            name = f"cgroup {limit.group} {limit.file}"
            best = Sourced(size // ranks, divided(name, ranks))
    if not in_slurm_group:
        count = cpus(snapshot, local_size, local_rank, masks).value
        cards = gpus(snapshot, local_size, local_rank).value
        for size, source in given_memory(snapshot, local_size, count, cards, warnings):
            if size < best.value:
                best = Sourced(size, source)
    step = snapshot.step_memory
    if step and step // local_size < best.value:
        best = Sourced(step // local_size, divided(STEP_MEMORY, local_size))
    return Sourced(best.value, best.source, tuple(warnings))


def without_hub(share: RankShare) -> RankShare:
    """Take off rank 0's share what scheduler and client need; rule above."""
    count, size = share.cpus.value, share.memory.value
    taken_cpus = 2 if count >= 16 else min(1, count - 1)  # noqa: PLR2004 - the rule
    taken = min(max(size // 8, 512 * MIB), 8 * GIB, size // 2)
    fewer = f"less {taken_cpus}" if taken_cpus else "none to spare"
    less = f"less {in_words(taken)}"
    return replace(
        share,
        cpus=replace(
            share.cpus,
            value=count - taken_cpus,
            source=f"{share.cpus.source}, {fewer} for scheduler and client",
        ),
        memory=replace(
            share.memory,
            value=size - taken,
            source=f"{share.memory.source}, {less} for scheduler and client",
        ),
        taken_cpus=taken_cpus,
        taken_memory=taken,
        memory_source=share.memory.source,
    )


def _from_affinity(
    snapshot: Snapshot,
    local_size: int,
    local_rank: int,
    masks: Sequence[Sequence[int]] | None,
    warnings: list[str],
) -> Iterator[tuple[int, str]]:
    mask = _mask(snapshot)
    words = f"affinity mask, {len(mask)} of {snapshot.online}"
    on_node = positive_variable(snapshot.environ, "SLURM_CPUS_ON_NODE", warnings)
    if masks is not None:
        sets = deal(masks)
        count, used = len(sets[local_rank]), sum(map(len, sets))
        yield count, words if count == len(mask) else divided(words, local_size)
    elif _owns_its_mask(snapshot, local_size):
        # Where the parent's is wider, Slurm's count of this job says nothing.
        narrower = set(mask) < set(snapshot.parent_cpus)
        count, used = len(mask), 0 if narrower else len(mask) * local_size
        yield count, words
    else:
        count, used = (
            len(nth_part(mask, local_rank, local_size)),
            len(mask) * local_size,
        )
        yield count, divided(words, local_size)
    if on_node is not None and used > on_node:
        own = nth_part_size(on_node, local_rank, local_size)
        yield own, divided(f"SLURM_CPUS_ON_NODE={on_node}", local_size)


def _quotas(
    snapshot: Snapshot, local_size: int, local_rank: int, warnings: list[str]
) -> Iterator[tuple[int, str]]:
    for limit in _limits(snapshot, "cpu"):
        name = f"cgroup {limit.group} {limit.file}"
        quota_text, _, period_text = limit.text.partition(" ")
        if quota_text == "-1":  # version 1's "max"
            continue
        quota = positive_number(quota_text, name, warnings)
        period = None if quota is None else positive_number(period_text, name, warnings)
        if quota is None or period is None:
            continue
        whole = quota / period
        words = f"cgroup quota {whole:.1f} ({limit.group} {limit.file})"
        ranks = 1 if limit.own else local_size
        own = nth_part_size(max(1, math.floor(whole)), local_rank % ranks, ranks)
        yield own, divided(words, ranks)


def _limits(snapshot: Snapshot, resource: str) -> Iterator[Limit]:
    return (limit for limit in snapshot.limits if limit.resource == resource)
