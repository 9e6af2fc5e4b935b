"""Sets of CPUs: as Linux writes them, and dealt out to the ranks that share them."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from dask_runner.resources.amounts import nth_part

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_LIST = re.compile(r"(\d+(-\d+)?(,\d+(-\d+)?)*)?", re.ASCII)


def in_list_format(cpus: Iterable[int]) -> str:
    """Write CPUs as the kernel does (cpuset(7), "List format"): "0-3,8"."""
    runs: list[list[int]] = []
    for cpu in sorted(set(cpus)):
        if runs and cpu == runs[-1][1] + 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in runs)


def from_list_format(text: str) -> tuple[int, ...]:
    """Read what :func:`in_list_format` or the kernel wrote.

    Raises
    ------
    ValueError
        If it is something else.
    """
    if not _LIST.fullmatch(text := text.strip()):
        raise ValueError(f"not a list of CPUs: {text!r}")
    cpus: set[int] = set()
    for run in filter(None, text.split(",")):
        first, _, last = run.partition("-")
        cpus.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(cpus))


def deal(masks: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    """Deal out the CPUs of a node so that no two ranks hold the same one.

    A block that several share is cut into neighbouring parts, the one that the fewest
    share first, so that they have equally many in all: who has more elsewhere gets
    less of it. No deal is fairer for masks of which any two are disjoint or one within
    the other, as launchers bind to nodes, sockets and cores.

    Parameters
    ----------
    masks : sequence of sequence of int
        What each may use.

    Returns
    -------
    tuple of tuple of int
        What each gets, in the same order.
    """
    owners: dict[int, list[int]] = defaultdict(list)
    for rank, mask in enumerate(masks):
        for cpu in set(mask):
            owners[cpu].append(rank)
    blocks: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for cpu in sorted(owners):
        blocks[tuple(owners[cpu])].append(cpu)
    sets: list[list[int]] = [[] for _ in masks]
    for ranks, block in sorted(blocks.items(), key=lambda item: len(item[0])):
        start = 0
        for rank, count in zip(ranks, _level(sets, ranks, len(block)), strict=True):
            sets[rank] += block[start : start + count]
            start += count
    return tuple(tuple(sorted(one)) for one in sets)


def _level(sets: list[list[int]], ranks: tuple[int, ...], more: int) -> list[int]:
    """Return how many of *more* CPUs each gets, so that they have equally many then."""
    has = [len(sets[rank]) for rank in ranks]
    if len(set(has)) == 1:
        return [len(nth_part(range(more), n, len(ranks))) for n in range(len(ranks))]
    gets = [0] * len(ranks)
    for _ in range(more):
        poorest = min(range(len(ranks)), key=lambda n: has[n] + gets[n])
        gets[poorest] += 1
    return gets
