"""Which nodes are connected, with which ranks, and whose workers are up.

What would be looked for among all ranks at each message, which adds up to the
square of their number, is kept here instead. It decides nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dask_runner.hub import messages as m

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dask_runner.hub.channel import Channel

#: What the ranks that may share an agent have in common: their host, and the agent's
#: name.
Group = tuple[str, str]


@dataclass(eq=False)
class Node:
    """A node that is connected: a leader, and the ranks that it plays.

    Attributes
    ----------
    name : str
        Its host's; several nodes may be on one.
    group : Group
        What it has in common with the nodes that may share its agent.
    channel : Channel
    heard : float
        When it has last been heard.
    members : dict of int to Member
        Its ranks.
    refused : set of int
        Ranks that it has brought and that were not taken.
    """

    name: str
    group: Group
    channel: Channel
    heard: float
    members: dict[int, Member] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)


@dataclass(eq=False)
class Member:
    """A rank that has joined, with its node."""

    node: Node
    hello: m.Hello
    workers: tuple[str, ...] = ()
    nthreads: int = 0
    memory: int = 0
    complete: bool = False

    @property
    def rank(self) -> int:
        """Its number."""
        return self.hello.rank

    @property
    def name(self) -> str:
        """How messages name it."""
        return f"rank {self.rank} on {self.node.name}"

    def tell(self, message: m.Message) -> None:
        """Send it a message."""
        self.node.channel.send(m.OfRank(self.rank, message))


class Roster:
    """The nodes and their ranks.

    Parameters
    ----------
    size : int
        How many ranks there are to be.
    workers : iterable of int
        Those that are to have workers.

    Attributes
    ----------
    size : int
        How many ranks there are to be.
    nodes : dict of Node
        Those that are connected, in the order in which they came.
    missing : set of int
        The ranks whose workers are awaited.
    staying : set of Node
        The nodes with ranks that have not said that they have stopped.
    registered : int
        Number of the workers that are up.
    """

    def __init__(self, size: int, workers: Iterable[int]) -> None:
        self.size = size
        self.nodes: dict[Node, None] = {}
        self._members: dict[int, Member] = {}
        self._arrived: set[int] = set()
        self._excused: set[int] = set()
        self._first_came: set[str] = set()
        self._on_host: dict[str, list[Member]] = {}
        self._waiting: dict[str, list[Member]] = {}
        self._leaders: dict[Group, int] = {}
        self.missing = set(workers)
        self.staying: set[Node] = set()
        self.registered = 0

    # --- who is there -------------------------------------------------------

    @property
    def members(self) -> tuple[Member, ...]:
        """The ranks that have joined."""
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
        """Return whether no node is connected but that rank's, if at all."""
        return all(rank in node.members for node in self.nodes)

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

    def connect(self, hello: m.NodeHello, channel: Channel) -> Node:
        """Take a node in, which has no ranks yet."""
        group = hello.name, hello.home
        node = Node(hello.name, group, channel, time.monotonic())
        self.nodes[node] = None
        return node

    def add(self, node: Node, hello: m.Hello) -> Member:
        """Take a rank of a node in."""
        member = Member(node, hello)
        self._members[member.rank] = node.members[member.rank] = member
        self._arrived.add(member.rank)
        if hello.local_rank == 0:
            self._first_came.add(node.name)
        self.staying.add(node)
        self._on_host.setdefault(node.name, []).append(member)
        self._waiting.setdefault(node.name, []).append(member)
        if hello.leads:
            self._leaders[node.group] = member.rank
        return member

    def disconnect(self, node: Node) -> None:
        """Strike out a node, which has no ranks any more."""
        self.nodes.pop(node, None)
        self.staying.discard(node)

    def remove(self, member: Member) -> None:
        """Strike out a rank, and its workers."""
        node = member.node
        del self._members[member.rank], node.members[member.rank]
        if not node.members:
            self.staying.discard(node)
        self._on_host[node.name].remove(member)
        if self._leaders.get(node.group) == member.rank:
            del self._leaders[node.group]
        if member in (waiting := self._waiting[node.name]):
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

    def waiting(self, host: str | None = None) -> list[str]:
        """List the hosts with ranks that have not been started; or that one."""
        hosts = list(self._waiting) if host is None else [host]
        return [each for each in hosts if self._waiting.get(each)]

    def start(
        self, host: str, address: str, *, impatient: bool
    ) -> list[tuple[Node, m.Starts]]:
        """Strike the ranks of a host that can start off the list.

        Parameters
        ----------
        host : str
        address : str
            The scheduler's.
        impatient : bool
            Whether a rank waits no longer for others of its host.

        Returns
        -------
        list of (Node, Starts)
            The nodes with such ranks, and what to tell each.
        """
        starting: dict[Node, list[Member]] = {}
        waiting = []
        for member in self._waiting[host]:
            if self._knows_its_host(member, impatient=impatient):
                starting.setdefault(member.node, []).append(member)
            else:
                waiting.append(member)
        if not starting:
            return []
        self._waiting[host] = waiting
        here = sorted(
            self._on_host[host], key=lambda one: (one.hello.local_rank, one.rank)
        )
        masks = [member.hello.cpus for member in here]
        return [
            (
                node,
                m.Starts(
                    address,
                    [member.rank for member in members],
                    [member.rank for member in here],
                    self._leaders.get(node.group, -1),
                    masks if all(masks) and _are_all(here, members[0]) else [],
                ),
            )
            for node, members in starting.items()
        ]

    def _knows_its_host(self, member: Member, *, impatient: bool) -> bool:
        """Return whether a rank can start without others of its host."""
        hello, node = member.hello, member.node
        if self.assembled:
            return True
        if not hello.local_size:
            return False
        _, home = node.group
        alone = home and not hello.leads and node.group not in self._leaders
        unsure = hello.asks and len(self._on_host[node.name]) < hello.local_size
        return impatient or not (alone or unsure)


def _are_all(here: list[Member], one: Member) -> bool:
    """Return whether these are all the ranks of a host, as far as one of them knows."""
    return one.hello.local_size in (0, len(here))
