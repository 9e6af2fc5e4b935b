"""Which ranks are connected, by node and by agent, and whose workers are up.

What would be looked for among all ranks at each message, which adds up to the
square of their number, is kept here instead. It decides nothing.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dask_runner import messages as m
    from dask_runner.channel import Channel

#: What the ranks of a node that may share an agent have in common: their node's
#: name, and the agent's.
Group = tuple[str, str]


@dataclass(eq=False)
class Member:
    """A rank that is connected."""

    rank: int
    node: str
    placed: bool
    channel: Channel
    heard: float
    home: str = ""
    leads: bool = False
    workers: tuple[str, ...] = ()
    nthreads: int = 0
    memory: int = 0
    complete: bool = False
    signals: Counter[int] = field(default_factory=Counter)

    @property
    def name(self) -> str:
        """How messages name it."""
        return f"rank {self.rank} on {self.node}"

    @property
    def group(self) -> Group:
        """What it has in common with the ranks that may share its agent."""
        return self.node, self.home


class Roster:
    """The ranks.

    Parameters
    ----------
    size : int
        How many there are to be.
    workers : iterable of int
        Those that are to have workers.

    Attributes
    ----------
    missing : set of int
        Those whose workers are awaited.
    staying : set of int
        Those that are connected and have not said that they have stopped.
    registered : int
        Number of the workers that are up.
    """

    def __init__(self, size: int, workers: Iterable[int]) -> None:
        self._size = size
        self._members: dict[int, Member] = {}
        self._arrived: set[int] = set()
        self._on_node: dict[str, list[int]] = {}
        self._waiting: dict[Group, list[Member]] = {}
        self._led: set[Group] = set()
        self.missing = set(workers)
        self.staying: set[int] = set()
        self.registered = 0

    # --- who is there -------------------------------------------------------

    @property
    def members(self) -> tuple[Member, ...]:
        """The ranks that are connected."""
        return tuple(self._members.values())

    def member(self, rank: int | None) -> Member | None:
        """Return that rank; None if it is not connected, or None is asked for."""
        return None if rank is None else self._members.get(rank)

    @property
    def assembled(self) -> bool:
        """Whether every rank has arrived."""
        return len(self._arrived) == self._size

    def only(self, rank: int) -> bool:
        """Say whether nobody is connected but that rank, if at all."""
        return len(self._members) == (rank in self._members)

    def may_join(self, rank: int) -> bool:
        """Say whether there is to be such a rank, and it has not been here."""
        return 0 <= rank < self._size and rank not in self._arrived

    def never_came(self) -> list[int]:
        """List the ranks that have not arrived."""
        return sorted(set(range(self._size)) - self._arrived)

    def late(self) -> list[str]:
        """Names of the ranks whose workers are not up."""
        return [
            f"rank {rank}" if rank not in self._members else self._members[rank].name
            for rank in sorted(self.missing)
        ]

    # --- who comes and goes -------------------------------------------------

    def add(self, hello: m.Hello, channel: Channel) -> Member:
        """Take a rank in."""
        member = Member(
            hello.rank,
            hello.node,
            hello.placed,
            channel,
            time.monotonic(),
            hello.home,
            hello.leads,
        )
        self._members[hello.rank] = member
        self._arrived.add(hello.rank)
        self.staying.add(hello.rank)
        self._on_node.setdefault(hello.node, []).append(hello.rank)
        self._waiting.setdefault(member.group, []).append(member)
        if member.leads:
            self._led.add(member.group)
        return member

    def remove(self, member: Member) -> None:
        """Strike out a rank, and its workers."""
        del self._members[member.rank]
        self.staying.discard(member.rank)
        self._on_node[member.node].remove(member.rank)
        if member.leads:
            self._led.discard(member.group)
        if member in (waiting := self._waiting.get(member.group, [])):
            waiting.remove(member)
        self._forget_workers(member)

    def give_up(self, member: Member) -> None:
        """Expect no workers of a rank any more, and forget those it has."""
        self.missing.discard(member.rank)
        self._forget_workers(member)

    def _forget_workers(self, member: Member) -> None:
        self.registered -= len(member.workers)
        member.workers = ()

    def workers_up(self, member: Member, message: m.WorkersUp) -> None:
        """Note that a rank's workers are up."""
        self.registered += len(message.names) - len(member.workers)
        self.missing.discard(member.rank)
        member.workers = tuple(message.names)
        member.complete = True
        member.nthreads, member.memory = message.nthreads, message.memory

    # --- who waits for its start --------------------------------------------

    def waiting(self, group: Group | None = None) -> list[Group]:
        """List the groups with ranks that have not been started; or the one."""
        groups = list(self._waiting) if group is None else [group]
        return [each for each in groups if self._waiting.get(each)]

    def startable(
        self, group: Group, *, impatient: bool
    ) -> list[tuple[Member, int, int, bool]]:
        """Strike the ranks of a group that can start off the list, and return them.

        Parameters
        ----------
        group : (str, str)
        impatient : bool
            Whether a rank waits no longer for the one that leads its node.

        Returns
        -------
        list of (Member, int, int, bool)
            With each its number among the ranks of its node, how many these are,
            and whether it borrows another rank's agent.
        """
        waiting = self._waiting[group]
        ready = {
            member: None
            for member in waiting
            if self._knows_its_node(member, impatient=impatient)
        }
        if not ready:
            return []
        ranks = sorted(self._on_node[group[0]])
        places = {rank: place for place, rank in enumerate(ranks)}
        led = group in self._led
        starts = [
            (member, places[member.rank], len(ranks), led and not member.leads)
            for member in ready
        ]
        self._waiting[group] = [member for member in waiting if member not in ready]
        return starts

    def _knows_its_node(self, member: Member, *, impatient: bool) -> bool:
        """Say whether a rank can start, or had better wait for others of its node."""
        if self.assembled:
            return True
        if not member.placed:
            return False
        waits = member.home and not member.leads and member.group not in self._led
        return not waits or impatient
