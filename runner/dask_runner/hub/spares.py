"""The spare nodes: they wait without workers, and take the place of what is lost.

They are the last nodes that have neither the hub nor the scheduler or the client. Which
ones these are is known when all ranks have arrived, so no workers start before. A lost
rank gives its place to one rank of a spare node; so a node that is lost costs as many
as it had.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError, RunnerError
from dask_runner.hub import messages as m

if TYPE_CHECKING:
    from dask_runner.hub.members import Member
    from dask_runner.hub.roster import Roster
    from dask_runner.launch.plan import Plan
    from dask_runner.launch.world import World


@dataclass(frozen=True, slots=True)
class Vacancy:
    """The place of a rank that is lost.

    Attributes
    ----------
    rank : int
    what : str
        What has happened to it, in words.
    error : RunnerError
        The error that ends a cluster which cannot begin without the rank.
    """

    rank: int
    what: str
    error: RunnerError


class Spares:
    """Decides which ranks wait, and which of them takes a place.

    Parameters
    ----------
    number : int
        How many nodes have to wait (``--spare``).
    world : World
        Rank 0's.
    plan : Plan
    roster : Roster
        Does not miss the workers of the ranks that wait.

    Attributes
    ----------
    number : int
    chosen : bool
        Whether it is known which nodes wait.
    vacancies : list of Vacancy
        The places for which a spare rank could not be sought yet.
    """

    def __init__(self, number: int, world: World, plan: Plan, roster: Roster) -> None:
        self.number = number
        self.chosen = not number
        self.vacancies: list[Vacancy] = []
        self._plan = plan
        self._roster = roster
        self._ranks_are_nodes = world.ranks_are_nodes
        self._nodes: dict[int, str] = {}
        self._spare_nodes: frozenset[str] = frozenset()
        self._waiting: dict[int, None] = {}
        self._given_up: set[int] = set()
        self._placed: set[int] = set()
        self._unfilled = 0

    # --- which nodes wait ---------------------------------------------------

    def note(self, rank: int, host: str) -> None:
        """Note the host of a rank that is there, or was."""
        if self.number:
            self._nodes[rank] = f"rank {rank}" if self._ranks_are_nodes else host

    def came(self, member: Member) -> None:
        """Note a rank that has joined.

        If it is late, or of a spare node, it waits, unless there is a place for it.
        """
        rank = member.rank
        self.note(rank, member.node.name)
        late = rank in self._given_up
        self._given_up.discard(rank)
        if late and self._unfilled:
            self._unfilled -= 1
        elif late or (self.chosen and self._nodes.get(rank) in self._spare_nodes):
            self._wait(rank)

    def choose(self) -> None:
        """Decide which nodes wait.

        Raises
        ------
        ConfigError
            If there are too few nodes.
        """
        nodes: dict[str, list[int]] = {}
        for rank in sorted(self._nodes):
            nodes.setdefault(self._nodes[rank], []).append(rank)
        never = self._plan.never_spare
        free = [name for name, ranks in nodes.items() if never.isdisjoint(ranks)]
        spare = free[-self.number :]
        ranks = [rank for name in spare for rank in nodes[name]]
        enough = len(spare) == self.number and set(self._plan.workers).difference(ranks)
        if len(self._nodes) == self._roster.own.size and not enough:
            working = {self._nodes[rank] for rank in self._plan.workers}
            raise _too_few(self.number, len(nodes), len(free), len(working))
        self.chosen, self._spare_nodes = True, frozenset(spare)
        self.vacancies = [one for one in self.vacancies if one.rank not in ranks]
        for rank in ranks:
            if rank not in self._given_up:
                self._wait(rank)

    def _wait(self, rank: int) -> None:
        self._waiting[rank] = None
        self._roster.missing.discard(rank)
        if (member := self._roster.member(rank)) is not None:
            member.tell(m.Waits())

    def waits(self, rank: int) -> bool:
        """Return whether a rank is known to wait for a place."""
        return rank in self._waiting

    def holds(self, rank: int) -> bool:
        """Return whether a rank must not start its workers."""
        return not self.chosen or rank in self._waiting or rank in self._given_up

    @property
    def ranks(self) -> int:
        """The number of ranks that wait."""
        return len(self._waiting)

    @property
    def nodes(self) -> int:
        """The number of nodes with ranks that wait."""
        return len({self._nodes[rank] for rank in self._waiting})

    # --- who takes which place ----------------------------------------------

    def can_replace(self, rank: int) -> bool:
        """Return whether the cluster can do without a rank, for all that is known."""
        return not self.chosen or bool(self._waiting) or rank in self._given_up

    def give_up(self, rank: int) -> bool:
        """Note that a rank is lost; return whether its workers leave a gap.

        They do not if it has waited for a place, or has been given up before.
        """
        gap = rank not in self._waiting and rank not in self._given_up
        self._waiting.pop(rank, None)
        if self.number:
            self._given_up.add(rank)
        return gap

    def take(self) -> Member | None:
        """Return a rank that has waited, and takes a place now; None without one."""
        for rank in self._waiting:
            member = self._roster.member(rank)
            if member is not None:
                del self._waiting[rank]
                self._placed.add(rank)
                self._roster.missing.add(rank)
                return member
        self._unfilled += 1
        return None

    @property
    def late(self) -> list[Member]:
        """The ranks that started with the cluster, and whose workers are not up."""
        late = self._roster.missing - self._placed
        return [one for one in map(self._roster.member, sorted(late)) if one]

    @property
    def starting(self) -> bool:
        """Whether ranks have taken a place, and their workers are not up yet."""
        return not self._placed.isdisjoint(self._roster.missing)

    def has_placed(self, rank: int) -> bool:
        """Return whether a rank has waited, and taken a place."""
        return rank in self._placed


def _too_few(spare: int, nodes: int, free: int, working: int) -> ConfigError:
    most = min(free, working - 1)
    return ConfigError(
        f"--spare {spare}, and the ranks are on {nodes} node{'' if nodes == 1 else 's'}"
        f", {free} of them without the scheduler and the client",
        "a node that works, and one for each that waits",
        "start the ranks on more nodes, or "
        + (f"say --spare {most}" if most > 0 else "leave out --spare"),
    )
