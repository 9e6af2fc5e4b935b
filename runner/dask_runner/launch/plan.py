"""The Plan: which rank has which role, by the number of ranks and the layout."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping


class Role(StrEnum):
    """What a rank does; one rank may have several roles."""

    scheduler = "scheduler"
    client = "client"
    worker = "worker"


@dataclass(frozen=True, slots=True)
class Plan:
    """The roles of all ranks.

    Attributes
    ----------
    scheduler, client : int or None
        The ranks with these roles; None where no rank has the role.
    workers : tuple of int
        The ranks that work, in ascending order.
    """

    scheduler: int | None
    client: int | None
    workers: tuple[int, ...]

    @property
    def never_spare(self) -> frozenset[int]:
        """The ranks whose nodes cannot wait for work: the hub's, and these two."""
        return frozenset({0, self.scheduler or 0, self.client or 0})

    def roles(self, rank: int) -> frozenset[Role]:
        """Return the roles of one rank."""
        single = {Role.scheduler: self.scheduler, Role.client: self.client}
        roles = {role for role, holder in single.items() if holder == rank}
        if rank in self.workers:
            roles.add(Role.worker)
        return frozenset(roles)


@dataclass(frozen=True, slots=True)
class Layout:
    """A named way to give the ranks their roles."""

    client: int | None
    first_worker: int
    minimum: int
    meaning: str


LAYOUTS: Mapping[str, Layout] = {
    "shared": Layout(
        0, 0, 1, "every rank works, rank 0 also schedules and runs your script"
    ),
    "dedicated": Layout(
        1, 2, 3, "rank 0 schedules, rank 1 runs your script, the rest work"
    ),
}
#: The same, where there is no script to run.
SERVING: Mapping[str, Layout] = {
    "shared": Layout(None, 0, 1, "every rank works, rank 0 also schedules"),
    "dedicated": Layout(None, 1, 2, "rank 0 schedules, the rest work"),
}


def make_plan(size: int, layout: str, *, serves: bool = False) -> Plan:
    """Return the roles of *size* ranks; *serves* says that there is no script.

    Raises
    ------
    ConfigError
        If the layout needs more ranks than there are.
    """
    chosen = (SERVING if serves else LAYOUTS)[layout]
    if size < chosen.minimum:
        raise ConfigError(
            f"{_ranks(size)} for the layout {layout!r}",
            f"at least {chosen.minimum} ranks ({chosen.meaning})",
            f"start {chosen.minimum} or more tasks (srun -n {chosen.minimum}, "
            f"mpiexec -n {chosen.minimum}), or choose the layout 'shared', "
            "which works from 1 rank up",
        )
    return Plan(0, chosen.client, tuple(range(chosen.first_worker, size)))


def join_plan(size: int) -> Plan:
    """Return the roles of *size* ranks that join a running cluster: all work."""
    return Plan(None, None, tuple(range(size)))


def check_spare(plan: Plan, size: int, spare: int, *, on_one_node: bool) -> None:
    """Refuse more spare nodes than *size* ranks can have.

    Ranks may share a node, so there may be too few nodes all the same, which the hub
    finds out when all ranks are there (:mod:`dask_runner.hub.spares`).

    Parameters
    ----------
    plan : Plan
    size : int
        The number of ranks.
    spare : int
        The number of nodes that have to wait (``--spare``).
    on_one_node : bool
        Whether the launcher says that all ranks are on one node.

    Raises
    ------
    ConfigError
    """
    if not spare:
        return
    if on_one_node:
        raise ConfigError(
            f"--spare {spare}, and {_ranks(size)} on one node",
            "another node for each one that waits (dask-runner -n counts ranks)",
            "start the ranks on more nodes, or leave out --spare",
        )
    most = min(size - len(plan.never_spare), len(plan.workers) - 1)
    if spare > most:
        raise ConfigError(
            f"--spare {spare}, and {_ranks(size)}, of which {most} can wait",
            "a rank that works, and a node for each one that waits, without the "
            "scheduler and the client",
            f"start {size + spare - most} ranks or more, or "
            + (f"say --spare {most}" if most else "leave out --spare"),
        )


def _ranks(size: int) -> str:
    return f"{size} rank{'' if size == 1 else 's'}"
