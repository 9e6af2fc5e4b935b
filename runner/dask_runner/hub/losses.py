"""Report ranks that were lost together in one line.

When a node or its leader is lost, all its ranks are lost at the same moment, and a node
may have hundreds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_runner.errors import AssemblyError
from dask_runner.hub.ending import later

if TYPE_CHECKING:
    from dask_runner.hub import messages as m
    from dask_runner.hub.history import History
    from dask_runner.hub.members import Group, Member, Node
    from dask_runner.hub.report import Reporter

#: Seconds within which losses on one node, for one reason, are reported together.
TOGETHER_SECONDS = 0.2
#: Ranks that a message names one by one.
SHOWN = 16


class Losses:
    """The lost ranks that have not been reported yet.

    Parameters
    ----------
    report : Reporter
    history : History
        Keeps them.
    """

    def __init__(self, report: Reporter, history: History) -> None:
        self._report = report
        self._history = history
        self._lost: dict[tuple[Group, str, str, bool], set[int]] = {}
        self._replaced: dict[str, dict[int, int]] = {}

    def add(self, member: Member, why: object, *, spare: bool = False) -> None:
        """Note a lost rank and the reason; it is reported a moment later."""
        self.note(member.rank, member.node, why, spare=spare)

    def note(self, rank: int, node: Node, why: object, *, spare: bool = False) -> None:
        """Note a rank of a node's group that was lost before it joined."""
        self._tell_later()
        # A rank may give the same reason more than once.
        self._lost.setdefault((node.group, node.name, str(why), spare), set()).add(rank)

    def replaced(self, rank: int, spare: Member) -> None:
        """Note that a spare rank takes the place of a lost one."""
        self._tell_later()
        self._replaced.setdefault(spare.node.name, {})[rank] = spare.rank

    def _tell_later(self) -> None:
        if not self._lost and not self._replaced:
            later(TOGETHER_SECONDS, self.tell)

    def tell(self) -> None:
        """Report the losses that have not been reported yet."""
        lost, self._lost = self._lost, {}
        replaced, self._replaced = self._replaced, {}
        for (group, node, why, spare), ranks in lost.items():
            what = f"{'spare ' if spare else ''}{ranks_in_words([*ranks])}"
            of_join = f" of join {group.join}" if group.join else ""
            self._report.warn(f"lost {what}{of_join} on {node}: {why}")
            for rank in sorted(ranks):
                self._history.rank_lost(group, rank, node, why)
        for node, pairs in replaced.items():
            takes = "takes the place" if len(pairs) == 1 else "take the places"
            self._report.note(
                f"{ranks_in_words([*pairs.values()])} on {node} {takes} of "
                f"{ranks_in_words([*pairs])}"
            )


def never_came(message: m.Absent, node: str, size: int) -> AssemblyError:
    """Return the error about a rank of a node that will not join."""
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
    """Return a list of ranks in words, cut if it is long: "ranks 3, 4, 5"."""
    shown = ", ".join(map(str, sorted(ranks)[:SHOWN]))
    more = ", …" if len(ranks) > SHOWN else ""
    return f"rank{'s' if len(ranks) > 1 else ''} {shown}{more}"
