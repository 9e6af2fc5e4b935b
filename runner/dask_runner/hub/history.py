"""What the hub keeps of a run: what it used, computed and lost.

Nodes and the scheduler tell it now and then, so that it knows the last figures of what
is lost. It decides and prints nothing (:mod:`dask_runner.hub.run_report` does).
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from dask_runner.hub import messages as m
    from dask_runner.hub.members import Group, Node
    from dask_runner.launch.world import World

#: The losses that are kept one by one; a worker may die again and again.
MOST_LOSSES = 200
ADVICE = re.compile(r"; you can: [^()]*(\([^()]*\)[^()]*)*")
#: The moments that are kept of the work: beyond it, every second one is dropped.
MOST_MOMENTS = 600


@dataclass(frozen=True)
class Loss:
    """What was lost, when and why.

    Attributes
    ----------
    after : float
        Seconds since the beginning.
    what, name, node : str
        "worker" or "rank", its name, and its node's.
    cause : str
    then : str
        What followed: "started again" or "gone".
    """

    after: float
    what: str
    name: str
    node: str
    cause: str
    then: str


@dataclass(eq=False)
class NodeHistory:
    """A node that is or was connected; times are seconds since the beginning.

    Attributes
    ----------
    name, join : str
        The names of its host, and of its join.
    came : float
    gone : float or None
        None while it is there.
    lost : str
        Why it was lost; empty if it was not.
    usage : Usage or None
        The last that it has told, and *told* when.
    final : bool
        Whether it has told that at its end.
    """

    name: str
    join: str
    came: float
    gone: float | None = None
    lost: str = ""
    usage: m.Usage | None = None
    told: float = 0.0
    final: bool = False


@dataclass(frozen=True)
class Moment:
    """The work at one moment, in seconds since the beginning."""

    after: float
    work: m.Work


@dataclass
class History:
    """The history of one cluster.

    Attributes
    ----------
    world : World
    layout : str
    clock : callable
    began : float
        In seconds since 1970.
    name : str
        The cluster's.
    ready, decided, ended : float or None
        When it was ready, when its status was decided, and when all ranks had stopped.
    status : int or None
    cause : str
        The error that has ended it; empty for none.
    nodes : dict
        By node of the roster.
    losses : list of Loss
    losses_left_out : int
    moments : list of Moment
    work : Work or None
        The last that the scheduler has told; *work_final* if that was at the end.
    """

    world: World
    layout: str
    clock: Callable[[], float] = time.monotonic
    began: float = field(default_factory=time.time)
    name: str = ""
    ready: float | None = None
    decided: float | None = None
    ended: float | None = None
    status: int | None = None
    cause: str = ""
    nodes: dict[Node, NodeHistory] = field(default_factory=dict)
    losses: list[Loss] = field(default_factory=list)
    losses_left_out: int = 0
    moments: list[Moment] = field(default_factory=list)
    work: m.Work | None = None
    work_told: float = 0.0
    work_final: bool = False

    def __post_init__(self) -> None:
        self._zero = self.clock()
        self._every = 0.0

    @property
    def age(self) -> float:
        """The seconds since the beginning."""
        return self.clock() - self._zero

    # --- nodes --------------------------------------------------------------

    def came(self, node: Node) -> None:
        """Note that a node is connected."""
        self.nodes[node] = NodeHistory(node.name, node.group.join, self.age)

    def went(self, node: Node, why: str) -> None:
        """Note that a node is connected no more; *why* is empty if it has left."""
        if (one := self.nodes.get(node)) is not None and one.gone is None:
            one.gone = self.age
            one.lost = "" if self.status is not None or node.group.leaves else why

    def uses(self, node: Node, usage: m.Usage) -> None:
        """Note what a node uses."""
        if (one := self.nodes.get(node)) is not None:
            one.usage, one.told = usage, self.age
            one.final = self.status is not None or node.group.leaves

    # --- the work -----------------------------------------------------------

    def computes(self, work: m.Work) -> None:
        """Note what the scheduler knows of the work."""
        self.work, self.work_told = work, self.age
        self.work_final = self.status is not None
        if self.work_final:
            return  # its workers have left
        last = self.moments[-1].after if self.moments else -1.0
        if self.work_told - last >= self._every:
            self.moments.append(Moment(self.work_told, work))
        if len(self.moments) > MOST_MOMENTS:
            self._every = 2 * max(self._every, self.work_told / MOST_MOMENTS)
            self.moments = self.moments[::2]

    # --- losses, and the end ------------------------------------------------

    def loses(self, what: str, name: str, node: str, cause: str, then: str) -> None:
        """Note a loss; what to do about it, or what a log has, is no part of its cause.

        The lines of a log are those after the first.
        """
        cause = ADVICE.sub("", cause.partition("\n")[0])
        if len(self.losses) < MOST_LOSSES:
            self.losses.append(Loss(self.age, what, name, node, cause, then))
        else:
            self.losses_left_out += 1

    def rank_lost(self, group: Group, rank: int, node: str, cause: str) -> None:
        """Note the loss of a rank."""
        name = f"{group.join}.{rank}" if group.join else str(rank)
        self.loses("rank", name, node, cause, "gone")

    def decides(self, status: int) -> None:
        """Note the status of the job."""
        self.status, self.decided = status, self.age
