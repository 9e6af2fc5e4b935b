"""The joins of a cluster: ranks of other launches, which come and leave at any time.

A join comes when its first node asks (``AskJoin``). It leaves as a whole: its workers
are retired, its ranks end their processes, and then go with status 0. What it loses
costs the cluster what a lost rank costs (:mod:`dask_runner.hub.survival`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError, RunnerError, UnavailableError
from dask_runner.hub import messages as m
from dask_runner.hub.assembly import NEIGHBOURS_SECONDS
from dask_runner.hub.batch_jobs import job_number
from dask_runner.hub.ending import STOP_SECONDS, later
from dask_runner.hub.members import Group, Stay
from dask_runner.hub.requests import JoinState
from dask_runner.launch.signals import FOR_THE_SCRIPT

if TYPE_CHECKING:
    from dask_runner.hub.batch_jobs import BatchJobs
    from dask_runner.hub.members import Member, Node
    from dask_runner.hub.requests import AskJoin
    from dask_runner.hub.scaling import Scaling
    from dask_runner.hub.shared_state import SharedState
    from dask_runner.wire.channel import Channel


@dataclass(eq=False)
class _Join:
    """One join.

    Attributes
    ----------
    group : Group
    key : str
        Of its launch.
    job : str
        The number of its batch job; empty where there is none.
    grace : float
        Seconds for its workers to be retired.
    option : str
        What sets them.
    status : int
        The exit status of its ranks.
    why : str
        The reason for which it leaves.
    signals : Counter of int
        How many signals that end each of its ranks has got.
    told : set of str
        The errors that one of its ranks has printed.
    gone : asyncio.Event
        Set when it has left.
    """

    group: Group
    key: str
    job: str
    grace: float
    option: str = "--grace"
    status: int = 0
    why: str = ""
    signals: Counter[int] = field(default_factory=Counter)
    told: set[str] = field(default_factory=set)
    gone: asyncio.Event = field(default_factory=asyncio.Event)


class Joins:
    """Admits joins, and dismisses them when they leave.

    Parameters
    ----------
    shared : SharedState
    scaling : Scaling
        Starts no workers on ranks that leave.
    jobs : BatchJobs
        Those that were submitted, so that they join.
    """

    def __init__(self, shared: SharedState, scaling: Scaling, jobs: BatchJobs) -> None:
        self._shared = shared
        self._scaling = scaling
        self._jobs = jobs
        self._roster = shared.roster
        self._joins: dict[Group, _Join] = {}
        self._by_key: dict[str, _Join] = {}
        self._came = 0

    @property
    def states(self) -> list[JoinState]:
        """The joins that are there."""
        return [
            JoinState(
                group.join,
                join.job,
                group.size,
                sum(len(member.offers) for member in self._members(join)),
                group.leaves,
            )
            for group, join in self._joins.items()
        ]

    # --- how they come --------------------------------------------------------

    def admit(self, request: AskJoin, channel: Channel) -> Node:
        """Add a node of a join, and the join with its first node.

        A node that comes when its join leaves, or has left, leaves with it: whoever
        had the join leave meant all of it.

        Raises
        ------
        UnavailableError
            If the cluster ends, or a join leaves whose ranks have all been here.
        """
        if self._shared.ending.status is not None:
            raise _ending("the cluster")
        join = self._by_key.get(request.key)
        # What starts one rank alone gives it no key that nobody else has.
        if join is None or request.size == 1 or not request.key:
            join = self._begin(request)
        if join.group.leaves and join.group.assembled:
            raise _ending(f"join {join.group.join}")
        channel.send(m.Joined(join.group.join))
        node = self._roster.connect(request.node, channel, join.group)
        self._shared.history.came(node)
        if join.group.stay is Stay.left:
            self._joins[join.group] = join
            channel.send(m.Close(0))
            later(STOP_SECONDS, self._finish, join)
        return node

    def arrived(self, member: Member) -> None:
        """Have a rank end its processes if its join has been told to."""
        if member.node.group.stay is Stay.left:
            member.tell(m.Close(0))

    def _begin(self, request: AskJoin) -> _Join:
        self._came += 1
        group = Group(request.size, self._came)
        number = job_number(request.job_id)
        join = _Join(group, request.key, number, request.grace)
        self._joins[group] = self._by_key[request.key] = join
        self._jobs.came(number)
        job = f" of {request.launcher} job {request.job_id}" if number else ""
        ranks = "1 rank" if request.size == 1 else f"{request.size} ranks"
        self._shared.report.note(f"join {group.join}: {ranks}{job}")
        later(NEIGHBOURS_SECONDS, self._wait_no_longer, join)
        if request.leaves_in >= 0:
            later(request.leaves_in, self._leave_in_time, join, request.last_grace)
        return join

    def _wait_no_longer(self, join: _Join) -> None:
        join.group.impatient = True
        self._shared.assembly.advance()

    # --- how they leave -------------------------------------------------------

    def stop(self, name: str, by: str) -> asyncio.Event:
        """Have a join leave; return what is set when it has left.

        Raises
        ------
        ConfigError
            If there is none of that name.
        """
        for join in self._joins.values():
            if join.group.join == name:
                self._jobs.gone(join.job)
                self._leave(join, f"stopped by {by}")
                return join.gone
        raise ConfigError(
            f"no join {name!r} in this cluster",
            f"one of {', '.join(group.join for group in self._joins)}"
            if self._joins
            else "a cluster with joins",
            "see the names of the joins with dask-runner list --json",
        )

    def signalled(self, group: Group, rank: int, number: int) -> None:
        """Have a join leave, as one of its ranks was told to end.

        With a second signal to the same rank it ends at once.
        """
        join = self._joins.get(group)
        if join is None or number in FOR_THE_SCRIPT:
            return
        join.signals[rank] += 1
        if join.signals[rank] > 1:
            join.status = 128 + number
            self._close(join)
        else:
            self._leave(join, f"{group.name_of(rank)} got a signal to end")

    def _leave_in_time(self, join: _Join, grace: float) -> None:
        if not join.group.leaves:
            join.grace, join.option = grace, "--stop-before"
        self._leave(join, "its job ends soon")

    def _leave(self, join: _Join, why: str) -> None:
        group = join.group
        ends = self._shared.ending.status is not None
        if ends or group.leaves or join.gone.is_set():
            return
        group.stay, join.why = Stay.leaves, why
        self._shared.report.note(f"join {group.join} leaves: {why}")
        self._retire(join, self._members(join))
        later(join.grace, self._grace_is_over, join)
        self._look(join)

    def _retire(self, join: _Join, members: list[Member]) -> None:
        names = [name for member in members for name in member.workers]
        self._scaling.leave(names)
        scheduler = self._roster.member(self._shared.plan.scheduler)
        if scheduler is not None and names:
            scheduler.tell(m.RetireAll(names, join.grace))

    def _grace_is_over(self, join: _Join) -> None:
        left = sum(len(member.workers) for member in self._members(join))
        if join.group.stay is not Stay.left and left:
            self._shared.report.warn(
                f"join {join.group.join}: {_many(left)} not finished within "
                f"{join.grace:g} s ({join.option}): their tasks begin again elsewhere"
            )
        self._close(join)

    def _close(self, join: _Join) -> None:
        """Have the ranks end their processes, and leave."""
        group = join.group
        if group.stay is Stay.left:
            return
        group.stay = Stay.left
        for node in self._nodes(join):
            node.channel.send(m.Close(0))
        later(STOP_SECONDS, self._finish, join)
        self._look(join)

    def _finish(self, join: _Join) -> None:
        for node in self._nodes(join):
            node.channel.send(m.Finish(join.status, join.why))

    # --- what happens ---------------------------------------------------------

    def workers_up(self, member: Member) -> None:
        """Retire workers that come up while their join leaves."""
        join = self._joins.get(member.node.group)
        if join is not None and join.group.leaves:
            self._retire(join, [member])

    def changed(self, group: Group) -> None:
        """Check again how far a join has left: a worker, a rank or a node is gone."""
        if (join := self._joins.get(group)) is not None:
            self._look(join)

    def _look(self, join: _Join) -> None:
        nodes = self._nodes(join)
        if not nodes:
            del self._joins[join.group]
            # Nodes of a join that has left may still come.
            expected = join.group.leaves and not join.group.assembled
            if self._by_key.get(join.key) is join and not expected:
                del self._by_key[join.key]
            first = not join.gone.is_set()
            join.gone.set()
            goes_on = self._shared.ending.status is None
            if first and goes_on and join.group.stay is Stay.left:
                self._shared.report.note(f"join {join.group.join} has left")
        elif join.group.stay is Stay.left:
            if not self._roster.staying.intersection(nodes):
                self._finish(join)
        elif join.group.leaves and not any(
            member.workers for member in self._members(join)
        ):
            self._close(join)

    def failed(self, member: Member, error: RunnerError) -> None:
        """Dismiss a rank that cannot do its part."""
        join = self._joins.get(member.node.group)
        if join is None:
            return
        prints = error.saw not in join.told
        join.told.add(error.saw)
        saw = f"{member.name}: {error.saw}"
        member.tell(m.Dismiss(saw, error.needed, error.do, error.status, prints))

    def _nodes(self, join: _Join) -> list[Node]:
        return [node for node in self._roster.nodes if node.group is join.group]

    def _members(self, join: _Join) -> list[Member]:
        return [one for node in self._nodes(join) for one in node.members.values()]


def _many(workers: int) -> str:
    return "1 worker has" if workers == 1 else f"{workers} workers have"


def _ending(what: str) -> UnavailableError:
    return UnavailableError(
        f"{what} is ending",
        "a cluster that goes on",
        "start another: dask-runner serve",
    )
