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
    "shared": Layout(0, 0, 1, "every rank works, rank 0 also schedules and runs you"),
    "dedicated": Layout(1, 2, 3, "rank 0 schedules, rank 1 runs you, the rest work"),
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
            f"{size} rank{'s' if size != 1 else ''} for the layout {layout!r}",
            f"at least {chosen.minimum} ranks ({chosen.meaning})",
            f"start {chosen.minimum} or more tasks (srun -n {chosen.minimum}, "
            f"mpiexec -n {chosen.minimum}), or choose the layout 'shared', "
            "which works from 1 rank up",
        )
    return Plan(0, chosen.client, tuple(range(chosen.first_worker, size)))


def join_plan(size: int) -> Plan:
    """Return the roles of *size* ranks that join a running cluster: all work."""
    return Plan(None, None, tuple(range(size)))
