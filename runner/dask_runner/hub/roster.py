"""Which ranks are connected, by node and by agent, and whose workers are up.

What would be looked for among all ranks at each message, which adds up to the
square of their number, is kept here instead. It decides nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_runner.hub import messages as m

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dask_runner.hub.channel import Channel

#: What the ranks of a node that may share an agent have in common: their node's
#: name, and the agent's.
Group = tuple[str, str]


@dataclass(eq=False)
class Member:
    """A rank that is connected."""

    hello: m.Hello
    channel: Channel
    heard: float
    workers: tuple[str, ...] = ()
    nthreads: int = 0
    memory: int = 0
    complete: bool = False

    @property
    def rank(self) -> int:
        """Its number."""
        return self.hello.rank

    @property
    def node(self) -> str:
        """The name of its node."""
        return self.hello.node

    @property
    def name(self) -> str:
        """How messages name it."""
        return f"rank {self.rank} on {self.node}"

    @property
    def group(self) -> Group:
        """What it has in common with the ranks that may share its agent."""
        return self.node, self.hello.home


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
    size : int
        How many there are to be.
    missing : set of int
        Those whose workers are awaited.
    staying : set of int
        Those that are connected and have not said that they have stopped.
    registered : int
        Number of the workers that are up.
    """

    def __init__(self, size: int, workers: Iterable[int]) -> None:
        self.size = size
        self._members: dict[int, Member] = {}
        self._arrived: set[int] = set()
        self._excused: set[int] = set()
        self._first_came: set[str] = set()
        self._on_node: dict[str, list[Member]] = {}
        self._waiting: dict[str, list[Member]] = {}
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
        # Asked at each message: no set is made for it but where one is due.
        came = self._arrived | self._excused if self._excused else self._arrived
        return len(came) == self.size

    @property
    def arrived(self) -> frozenset[int]:
        """The ranks that have arrived, or need not."""
        return frozenset(self._arrived | self._excused)

    def only(self, rank: int) -> bool:
        """Say whether nobody is connected but that rank, if at all."""
        return len(self._members) == (rank in self._members)

    def may_join(self, rank: int) -> bool:
        """Say whether there is to be such a rank, and it has not been here."""
        return 0 <= rank < self.size and rank not in self._arrived

    def never_came(self) -> list[int]:
        """List the ranks that have not arrived."""
        return sorted(set(range(self.size)) - self.arrived)

    def strike(self, rank: int, node: str) -> bool:
        """Expect a rank no more that has not arrived; say whether it had not.

        It is -1 for the one with the local rank 0 on that node, whose number is not
        known.
        """
        if rank < 0:
            return node not in self._first_came
        if not self.may_join(rank):
            return False
        self._arrived.add(rank)
        self.missing.discard(rank)
        return True

    def late(self) -> list[str]:
        """Names of the ranks whose workers are not up."""
        return [
            f"rank {rank}" if rank not in self._members else self._members[rank].name
            for rank in sorted(self.missing)
        ]

    # --- who comes and goes -------------------------------------------------

    def add(self, hello: m.Hello, channel: Channel) -> Member:
        """Take a rank in."""
        member = Member(hello, channel, time.monotonic())
        self._members[member.rank] = member
        self._arrived.add(member.rank)
        if hello.local_rank == 0:
            self._first_came.add(member.node)
        self.staying.add(member.rank)
        self._on_node.setdefault(member.node, []).append(member)
        self._waiting.setdefault(member.node, []).append(member)
        if hello.leads:
            self._led.add(member.group)
        return member

    def remove(self, member: Member) -> None:
        """Strike out a rank, and its workers."""
        del self._members[member.rank]
        self.staying.discard(member.rank)
        self._on_node[member.node].remove(member)
        if member.hello.leads:
            self._led.discard(member.group)
        if member in (waiting := self._waiting[member.node]):
            waiting.remove(member)
        self._forget_workers(member)

    def excuse(self, rank: int) -> None:
        """Expect a rank no more that has said why it cannot come; it still may."""
        self._excused.add(rank)
        self.missing.discard(rank)

    def give_up(self, member: Member) -> None:
        """Expect no workers of a rank any more, and forget those it has."""
        self.missing.discard(member.rank)
        self._forget_workers(member)

    def _forget_workers(self, member: Member) -> None:
        self.registered -= len(member.workers)
        member.workers = ()

    def worker_left(self, member: Member, name: str) -> None:
        """Note that one worker of a rank is not there any more, and not missed."""
        if name in member.workers:
            member.workers = tuple(one for one in member.workers if one != name)
            self.registered -= 1

    def workers_up(self, member: Member, message: m.WorkersUp) -> None:
        """Note that a rank's workers are up."""
        self.registered += len(message.names) - len(member.workers)
        self.missing.discard(member.rank)
        member.workers = tuple(message.names)
        member.complete = True
        member.nthreads, member.memory = message.nthreads, message.memory

    # --- who waits for its start --------------------------------------------

    def waiting(self, node: str | None = None) -> list[str]:
        """List the nodes with ranks that have not been started; or that one."""
        nodes = list(self._waiting) if node is None else [node]
        return [each for each in nodes if self._waiting.get(each)]

    def start(
        self, node: str, address: str, *, impatient: bool
    ) -> list[tuple[Member, m.Start]]:
        """Strike the ranks of a node that can start off the list.

        Parameters
        ----------
        node : str
        address : str
            The scheduler's.
        impatient : bool
            Whether a rank waits no longer for others of its node.

        Returns
        -------
        list of (Member, Start)
            Who can start, and what to tell it.
        """
        waiting = self._waiting[node]
        ready = {
            member: None
            for member in waiting
            if self._knows_its_node(member, impatient=impatient)
        }
        if not ready:
            return []
        self._waiting[node] = [member for member in waiting if member not in ready]
        here = sorted(
            self._on_node[node], key=lambda one: (one.hello.local_rank, one.rank)
        )
        places = {member: place for place, member in enumerate(here)}
        masks = [member.hello.cpus for member in here]
        starts = []
        for member in ready:
            borrows = member.group in self._led and not member.hello.leads
            whole = all(masks) and member.hello.local_size in (0, len(here))
            start = m.Start(
                address, places[member], len(here), borrows, masks if whole else []
            )
            starts.append((member, start))
        return starts

    def _knows_its_node(self, member: Member, *, impatient: bool) -> bool:
        """Say whether a rank can start, or had better wait for others of its node."""
        hello = member.hello
        if self.assembled:
            return True
        if not hello.local_size:
            return False
        alone = hello.home and not hello.leads and member.group not in self._led
        unsure = hello.asks and len(self._on_node[member.node]) < hello.local_size
        return impatient or not (alone or unsure)
