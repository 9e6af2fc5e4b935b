"""Which processes of a job there are to be killed, and what each is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.failures.parts import Process, plays, ranked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.failures.kills.draw import Draw

#: By name first: what the agent forks has its command line.
PARTS = (
    "scheduler",
    "client",
    "worker",
    "carrier",
    "forkserver",
    "tracker",
    "follower",
    "container",
    "agent",
    "top",
)

KINDS = (
    "container",  # Apptainer's, the launcher's child
    "newcomer",  # of a rank, and nothing yet
    "hub",  # rank 0's top process
    "leader",  # the top process that plays a node, not rank 0's
    "own",  # the top process of a rank that plays its part itself
    "follower",
    "agent",
    "newborn",  # the agent's fork, or the fork server's, and nothing yet
    "forkserver",
    "tracker",  # multiprocessing's resource tracker
    "scheduler",
    "client",
    "worker",
    "carrier",
)


@dataclass(frozen=True, slots=True)
class Victim:
    """A process, and what it is."""

    process: Process
    kind: str

    @property
    def rank(self) -> int:
        """The rank of which it is."""
        return self.process.rank

    def __str__(self) -> str:
        one = self.process
        return f"{self.kind} of rank {one.rank} on {one.node} ({one.pid}, {one.name})"


def victims(processes: Sequence[Process], draw: Draw) -> list[Victim]:
    """Return what of a job can be killed.

    Apptainer's server of the image is left out: it is no process of ours and of no
    rank, and without it no program can say a word.
    """
    living = [one for one in ranked(processes) if one.state not in "ZX"]
    by_place = {(one.node, one.pid): one for one in living}
    return [
        Victim(one, _kind(one, by_place.get((one.node, one.parent)), draw))
        for one in living
        if one.rank >= 0
    ]


def _kind(process: Process, parent: Process | None, draw: Draw) -> str:
    part = next((one for one in PARTS if plays(process, one)), "newcomer")
    if parent is not None and part in {"agent", "forkserver"} and _same(parent, part):
        return "newborn"
    if part == "container" and parent is not None:
        return "newcomer"  # what the container's first process is, before it begins
    if part != "top":
        return part
    if process.rank == 0:
        return "hub"
    return "own" if process.rank % draw.per_node else "leader"


def _same(parent: Process, part: str) -> bool:
    return next((one for one in PARTS if plays(parent, one)), "") == part
