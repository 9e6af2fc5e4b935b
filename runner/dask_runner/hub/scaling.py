"""The number of workers: which are retired when it falls, and started when it rises.

The scheduler retires workers in order: it moves their data and gives their tasks to
others. A worker that was retired, whoever has asked for that, is started again by the
agent of its node, as a fork.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError, UnavailableError
from dask_runner.hub import messages as m

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dask_runner.hub.members import Member
    from dask_runner.hub.shared_state import SharedState


class Scaling:
    """Brings the number of workers to what was asked for last.

    Parameters
    ----------
    shared : SharedState
    """

    def __init__(self, shared: SharedState) -> None:
        self._shared = shared
        self._roster = shared.roster
        self._wanted: int | None = None
        self._asked_for: int | None = None
        self._starting: dict[str, Member] = {}
        self._leaving: set[str] = set()
        self._asked: int | None = None
        self._asked_about: frozenset[str] = frozenset()
        self._unable: set[str] = set()

    @property
    def capacity(self) -> int:
        """The workers that the ranks offer."""
        return sum(len(member.offers) for member in self._offering)

    @property
    def _offering(self) -> list[Member]:
        """The ranks that go on."""
        return [one for one in self._roster.members if not one.node.group.leaves]

    @property
    def least(self) -> int:
        """The workers with which the cluster goes on."""
        return int(self._shared.settings.min_workers or 1)

    # --- what is asked for ----------------------------------------------------

    def ask(self, workers: int, *, nearest: bool) -> int:
        """Begin to bring the number to *workers*; return what it will be.

        Raises
        ------
        ConfigError
            If there cannot be so many, or so few.
        UnavailableError
            If the cluster is starting or ending.
        """
        self._refuse_now()
        least, capacity = self.least, self.capacity
        within = max(min(workers, capacity), min(least, capacity))
        if within != workers and not nearest:
            raise _beyond(workers, least, capacity)
        self._wanted = self._asked_for = within
        self._unable.clear()
        self._ask_the_scheduler()
        return within

    def make_up(self, workers: int) -> bool:
        """Start retired workers, if there are too few; return whether that will do."""
        if self.capacity - len(self._unable) < workers or not self._can_renew:
            return False
        self._wanted = max(self._wanted or 0, workers)
        self._advance()
        return True

    def restore(self) -> None:
        """Bring the number back to what was asked for, if workers came beside it."""
        if self._asked_for is not None and self._can_renew:
            self._wanted = min(self._asked_for, self.capacity)
            self._advance()

    def leave(self, names: Iterable[str]) -> None:
        """Note that workers are being retired, and start others if too few are left."""
        self._leaving.update(names)
        if self._there < self.least:
            self.make_up(self.least)

    def _refuse_now(self) -> None:
        shared = self._shared
        if shared.ending.status is not None or not shared.assembly.ready:
            how = "starting" if shared.ending.status is None else "ending"
            raise UnavailableError(
                f"the cluster is {how}",
                "a cluster that is ready",
                "wait until it is: see dask-runner list",
            )
        if not self._can_renew:
            raise ConfigError(
                "this cluster's workers cannot be started again: they have no nanny of "
                "ours (--no-nanny, --mpi-tasks, a worker class of your own), or the "
                "scheduler runs elsewhere",
                "workers under our nannies, and a scheduler of the cluster's",
                "start the cluster without these options",
            )

    @property
    def _can_renew(self) -> bool:
        members = self._roster.members
        scheduler = self._roster.member(self._shared.plan.scheduler)
        return scheduler is not None and all(one.again for one in members)

    # --- what happens ---------------------------------------------------------

    def staying(self, message: m.Staying) -> None:
        """Note which workers stay; the others end a moment later."""
        asked, self._asked = self._asked, None
        there = {name for one in self._roster.members for name in one.workers}
        # One that has been started meanwhile was not asked about.
        self._leaving = there & self._asked_about.difference(message.names)
        if self._wanted is not None and asked == self._wanted < len(message.names):
            # The others run tasks that would be lost, or have data that no other
            # worker can take.
            self._wanted = None
        self._advance()

    def left(self, name: str) -> None:
        """Note that a retired worker has ended."""
        self._leaving.discard(name)
        self._advance()

    def up(self, member: Member, name: str) -> None:
        """Note that a worker has been started again."""
        self._starting.pop(name, None)
        self._roster.worker_up(member, name)
        self._advance()

    def not_up(self, name: str) -> None:
        """Give up: a worker could not be started again. Try it when next asked."""
        self._starting.pop(name, None)
        self._unable.add(name)
        self._wanted = None

    def forget(self, member: Member) -> None:
        """Expect nothing more of the workers of a rank, which is lost."""
        for name in [name for name, one in self._starting.items() if one is member]:
            del self._starting[name]
        if self._leaving or self._unable:  # else all ranks would be searched for each
            there = {name for one in self._roster.members for name in one.offers}
            self._leaving &= there
            self._unable &= there
        self._advance()

    def _advance(self) -> None:
        """Take the next step towards the number that is wanted."""
        if self._wanted is None or self._shared.ending.status is not None:
            return
        there = self._there
        if self._asked is not None:
            return  # the answer is the next step
        if there < self._wanted:
            self._start(self._wanted - there)
        elif there > self._wanted and not self._starting:
            self._ask_the_scheduler()
        elif not self._starting and not self._leaving:
            self._wanted = None

    @property
    def _there(self) -> int:
        """The workers that are there in a moment."""
        return self._roster.registered - len(self._leaving) + len(self._starting)

    def _start(self, number: int) -> None:
        busy = self._unable.union(self._starting)
        chosen = spread(
            number,
            {
                member: [
                    name
                    for name in member.offers
                    if name not in busy and name not in member.workers
                ]
                for member in self._offering
            },
            self._starting.values(),
        )
        for member, names in chosen.items():
            self._starting |= dict.fromkeys(names, member)
            member.tell(m.StartWorkers(names))

    def _ask_the_scheduler(self) -> None:
        scheduler = self._roster.member(self._shared.plan.scheduler)
        names = [name for member in self._roster.members for name in member.workers]
        if scheduler is not None and self._asked is None and self._wanted is not None:
            self._asked, self._asked_about = self._wanted, frozenset(names)
            scheduler.tell(m.Retire(self._wanted, names))


def spread(
    number: int,
    retired: Mapping[Member, Sequence[str]],
    starting: Iterable[Member],
) -> dict[Member, list[str]]:
    """Choose workers to start, each on the host that has the fewest.

    Parameters
    ----------
    number : int
    retired : mapping of Member to sequence of str
        The workers that each rank can start.
    starting : iterable of Member
        The rank of each worker that is starting already.

    Returns
    -------
    dict of Member to list of str
        At most as many as there are.
    """
    busy = Counter(member.node.name for member in starting)
    for member in retired:
        busy[member.node.name] += len(member.workers)
    left = {member: list(names) for member, names in retired.items() if names}
    own = Counter({member: len(member.workers) for member in left})
    chosen: dict[Member, list[str]] = {}
    while number > 0 and left:
        member = min(left, key=lambda one: (busy[one.node.name], own[one], one.order))
        chosen.setdefault(member, []).append(left[member].pop(0))
        busy[member.node.name] += 1
        own[member] += 1
        if not left[member]:
            del left[member]
        number -= 1
    return chosen


def _beyond(workers: int, least: int, capacity: int) -> ConfigError:
    if workers < least:
        return ConfigError(
            f"{workers} workers asked for, and the cluster goes on with {least} or more"
            + (" (--min-workers)" if least > 1 else ""),
            f"{least} to {capacity} workers",
            f"ask for {least}, or end the cluster with dask-runner stop",
        )
    return ConfigError(
        f"{workers} workers asked for, and the nodes of this cluster offer {capacity}",
        f"{least} to {capacity} workers",
        f"ask for {capacity} at most, or have more nodes join: dask-runner join NAME",
    )
