"""Ranks that were lost together are told of together.

With a node, or with the rank that leads it, all its ranks are lost within a moment,
and a node may have hundreds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_runner.errors import AssemblyError
from dask_runner.hub.ending import later

if TYPE_CHECKING:
    from dask_runner.hub import messages as m
    from dask_runner.hub.report import Reporter
    from dask_runner.hub.roster import Member

#: Seconds within which losses of one node, for one reason, are one.
TOGETHER = 0.2
#: Ranks that a message names one by one.
SHOWN = 16


class Losses:
    """What is to be said of ranks that were lost.

    Parameters
    ----------
    report : Reporter
    """

    def __init__(self, report: Reporter) -> None:
        self._report = report
        self._lost: dict[tuple[str, str], list[int]] = {}

    def add(self, member: Member, why: object) -> None:
        """Take note of one, and why it is lost; it is told of in a moment."""
        self.note(member.rank, member.node.name, why)

    def note(self, rank: int, node: str, why: object) -> None:
        """Do the same for a rank that was never there."""
        if not self._lost:
            later(TOGETHER, self.tell)
        self._lost.setdefault((node, str(why)), []).append(rank)

    def tell(self) -> None:
        """Tell of those that have not been told of yet."""
        lost, self._lost = self._lost, {}
        for (node, why), ranks in lost.items():
            self._report.warn(f"lost {ranks_in_words(ranks)} on {node}: {why}")


def never_came(message: m.Absent, node: str, size: int) -> AssemblyError:
    """Say that a rank of a node will not join."""
    error = AssemblyError(
        message.on(node),
        message.needed or f"all {size} ranks",
        message.do
        or "look in the job's log and in the accounting of the launcher for what ended "
        "it, or begin with fewer by --min-workers",
    )
    error.status = message.status
    return error


def ranks_in_words(ranks: list[int]) -> str:
    """Name ranks, and not too many of them: "ranks 3, 4, 5"."""
    shown = ", ".join(map(str, sorted(ranks)[:SHOWN]))
    more = ", …" if len(ranks) > SHOWN else ""
    return f"rank{'s' if len(ranks) > 1 else ''} {shown}{more}"
