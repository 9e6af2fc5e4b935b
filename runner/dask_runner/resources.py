"""What one rank may use of its node: CPUs, memory and GPUs, each with its source.

Pure functions of a :class:`~dask_runner.snapshot.Snapshot`. The rules:

**Whose is a limit?** A limit that covers several ranks of a node is divided by
their number; a limit of this rank alone is not. Where nothing proves that a
limit is this rank's own, it is divided: too little is slow, too much is killed.

- A control group named ``task_N`` (Slurm's, under ``step_S``) or
  ``apptainer-PID.scope`` is the rank's own. Every other group is shared.
- An affinity mask is the rank's own if the masks of the other local ranks are
  known and do not overlap it; or if the parent process has a wider one (the
  launcher's daemon runs on all CPUs and has bound this rank); or if Slurm gave
  the node at least this many CPUs for each local rank. Otherwise it is shared.

**CPUs** are hardware threads in the affinity mask, as Dask counts them; then at
most the CPU quotas on the way up the cgroup tree (rounded down), then what the
launcher's variables say. Never fewer than one.

**Memory** is the minimum of the limits on the way up the cgroup tree and of the
node's memory divided by its ranks. Slurm's variables count only where no limit
of a Slurm job's control group is in sight: in a step they may be the job's
instead of the step's (``SLURM_MEM_PER_NODE`` leaks into ``srun
--mem-per-cpu``). ``SLURM_MEM_PER_NODE`` is divided by the local ranks,
``SLURM_MEM_PER_CPU`` multiplied by the rank's CPUs, ``SLURM_MEM_PER_GPU`` by
its GPUs.

**Scheduler and client** (layout ``shared``, rank 0) take from rank 0's share one
CPU of 2 to 15, two of 16 or more; and an eighth of the memory, at least 512 MiB
and at most 8 GiB, but never more than half.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dask_runner.found import GIB, MIB, Found, in_words, number, part, variable
from dask_runner.gpus import Gpus, gpus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dask_runner.cgroups import Limit
    from dask_runner.snapshot import Snapshot

#: Limits from here on mean "none": version 1 writes 2**63 less a page.
UNLIMITED = 2**60

_OWN_GROUP = re.compile(r"/(step_[^/]+/(.*/)?task_\d+|(apptainer|singularity)-[^/]+)$")
_SLURM_GROUP = re.compile(r"/job_\d+(/|$)")


@dataclass(frozen=True, slots=True)
class RankShare:
    """What the workers of one rank may use together."""

    cpus: Found[int]
    memory: Found[int]
    gpus: Found[Gpus]

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
    share = RankShare(
        cpus(snapshot, local_size, local_rank, masks),
        memory(snapshot, local_size, local_rank, masks),
        gpus(snapshot, local_size, local_rank),
    )
    return without_hub(share) if hosts_hub else share


def cpus(
    snapshot: Snapshot,
    local_size: int,
    local_rank: int = 0,
    masks: Sequence[Sequence[int]] | None = None,
) -> Found[int]:
    """Count the CPUs of one rank, at least one; see the rules above."""
    warnings: list[str] = []
    best = _from_affinity(snapshot, local_size, local_rank, masks, warnings)
    for count, source in (
        *_quotas(snapshot, local_size, local_rank, warnings),
        *_given_cpus(snapshot, local_size, local_rank, warnings),
    ):
        if count < best.value:
            best = Found(count, source)
    if best.value < 1:
        warnings.append(
            f"{local_size} ranks share fewer CPUs than ranks ({best.source})"
        )
    return Found(max(1, best.value), best.source, tuple(warnings))


def cpu_sets(masks: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    """Deal out the CPUs of a node so that no two ranks hold the same one.

    CPUs that only one rank may use are its own; a block that several share is
    cut into neighbouring parts, one for each.
    """
    owners: dict[int, list[int]] = defaultdict(list)
    for rank, mask in enumerate(masks):
        for cpu in set(mask):
            owners[cpu].append(rank)
    blocks: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for cpu in sorted(owners):
        blocks[tuple(owners[cpu])].append(cpu)
    sets: list[list[int]] = [[] for _ in masks]
    for ranks, block in blocks.items():
        for place, rank in enumerate(ranks):
            sets[rank] += part(block, place, len(ranks))
    return tuple(tuple(sorted(one)) for one in sets)


def memory(
    snapshot: Snapshot,
    local_size: int,
    local_rank: int = 0,
    masks: Sequence[Sequence[int]] | None = None,
) -> Found[int]:
    """Find the memory of one rank in bytes; see the rules above."""
    warnings: list[str] = []
    total = snapshot.memory or GIB * local_size
    best = Found(total // local_size, _divided("memory of the node", total, local_size))
    if not snapshot.memory:
        warnings.append("the node's memory is unknown: 1 GiB a rank is assumed")
    in_slurm_group = False
    for limit in _limits(snapshot, "memory"):
        size = number(limit.text, f"cgroup {limit.group} {limit.file}", warnings)
        if size is None or size >= UNLIMITED:
            continue
        in_slurm_group = in_slurm_group or bool(_SLURM_GROUP.search(limit.group))
        ranks = 1 if _is_own(limit) else local_size
        if size // ranks < best.value:
            name = f"cgroup {limit.group} {limit.file}"
            best = Found(size // ranks, _divided(name, size, ranks))
    if not in_slurm_group:
        count = cpus(snapshot, local_size, local_rank, masks).value
        cards = len(gpus(snapshot, local_size, local_rank).value.own)
        for size, source in _given_memory(snapshot, local_size, count, cards, warnings):
            if size < best.value:
                best = Found(size, source)
    return Found(best.value, best.source, tuple(warnings))


def without_hub(share: RankShare) -> RankShare:
    """Take off rank 0's share what scheduler and client need; rule above."""
    count, size = share.cpus.value, share.memory.value
    taken_cpus = 2 if count >= 16 else min(1, count - 1)  # noqa: PLR2004 - the rule
    taken = min(max(size // 8, 512 * MIB), 8 * GIB, size // 2)
    words = "less {} for scheduler and client"
    return replace(
        share,
        cpus=replace(
            share.cpus,
            value=count - taken_cpus,
            source=f"{share.cpus.source}, {words.format(taken_cpus)}",
        ),
        memory=replace(
            share.memory,
            value=size - taken,
            source=f"{share.memory.source}, {words.format(in_words(taken))}",
        ),
    )


def _from_affinity(
    snapshot: Snapshot,
    local_size: int,
    local_rank: int,
    masks: Sequence[Sequence[int]] | None,
    warnings: list[str],
) -> Found[int]:
    mask = snapshot.cpus or tuple(range(snapshot.online))
    words = f"affinity mask, {len(mask)} of {snapshot.online}"
    if masks is not None:
        count = len(cpu_sets(masks)[local_rank])
        if count < len(mask):
            words += f", shared with other ranks: {count}"
        return Found(count, words)
    on_node = variable(snapshot.environ, "SLURM_CPUS_ON_NODE", warnings) or 0
    bound = set(mask) < set(snapshot.parent_cpus)
    if local_size == 1 or bound or len(mask) * local_size <= on_node:
        return Found(len(mask), words)
    own = part(mask, local_rank, local_size)
    return Found(len(own), f"{words}, shared by {local_size} ranks")


def _quotas(
    snapshot: Snapshot, local_size: int, local_rank: int, warnings: list[str]
) -> Iterator[tuple[int, str]]:
    for limit in _limits(snapshot, "cpu"):
        name = f"cgroup {limit.group} {limit.file}"
        quota_text, _, period_text = limit.text.partition(" ")
        if quota_text == "-1":  # version 1's "max"
            continue
        quota = number(quota_text, name, warnings)
        period = None if quota is None else number(period_text, name, warnings)
        if quota is None or period is None:
            continue
        whole = quota / period
        words = f"cgroup quota {whole:.1f} ({limit.group} {limit.file})"
        count = max(1, math.floor(whole))
        if _is_own(limit) or local_size == 1:
            yield count, words
        else:
            own = part(range(count), local_rank, local_size)
            yield len(own), f"{words}, shared by {local_size} ranks"


def _given_cpus(
    snapshot: Snapshot, local_size: int, local_rank: int, warnings: list[str]
) -> Iterator[tuple[int, str]]:
    count = variable(snapshot.environ, "SLURM_CPUS_PER_TASK", warnings)
    if count is not None:
        yield count, f"SLURM_CPUS_PER_TASK={count}"
    shared = ["SLURM_CPUS_ON_NODE"]
    if "PBS_JOBID" in snapshot.environ:  # users set NCPUS for other ends, too
        shared.append("NCPUS")
    for name in shared:
        count = variable(snapshot.environ, name, warnings)
        if count is not None:
            own = part(range(count), local_rank, local_size)
            yield len(own), _divided(name, count, local_size)


def _given_memory(
    snapshot: Snapshot,
    local_size: int,
    count: int,
    cards: int,
    warnings: list[str],
) -> Iterator[tuple[int, str]]:
    rules: dict[str, tuple[Callable[[int], int], str]] = {
        "SLURM_MEM_PER_NODE": (
            lambda size: size // local_size,
            f" MiB / {local_size} ranks",
        ),
        "SLURM_MEM_PER_CPU": (lambda size: size * count, f" MiB x {count} CPUs"),
        "SLURM_MEM_PER_GPU": (lambda size: size * cards, f" MiB x {cards} GPUs"),
    }
    for name, (rule, words) in rules.items():
        # "--mem=0" asks for all memory of the node.
        if snapshot.environ.get(name) == "0":
            continue
        size = variable(snapshot.environ, name, warnings)
        if size is not None and rule(size):
            yield rule(size) * MIB, f"{name}={size}{words}"


def _limits(snapshot: Snapshot, resource: str) -> Iterator[Limit]:
    return (limit for limit in snapshot.limits if limit.resource == resource)


def _is_own(limit: Limit) -> bool:
    # The hierarchical limit may be an ancestor's.
    return (
        limit.file != "hierarchical_memory_limit"
        and _OWN_GROUP.search(limit.group) is not None
    )


def _divided(name: str, size: int, ranks: int) -> str:
    words = name if "SLURM" not in name else f"{name}={size}"
    return words if ranks == 1 else f"{words} / {ranks} ranks"
