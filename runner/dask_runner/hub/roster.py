"""The roster: which nodes are connected, with which ranks, and whose workers are up.

It keeps counts and sets, so that no message makes the hub search all ranks: for all
messages together that would cost the square of their number. It decides nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dask_runner.hub import messages as m

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dask_runner.wire.channel import Channel
    from dask_runner.wire.message import Message


@dataclass(eq=False)
class Node:
    """A node that is connected: a leader, and the ranks for which it plays.

    Attributes
    ----------
    name : str
        The name of its host, which several nodes may share.
    channel : Channel
    heard : float
        The time of its last message.
    members : dict of int to Member
        Its ranks.
    refused : set of int
        Ranks of the node that the hub has refused.
    """

    name: str
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
    #: The workers that it has, or can start again.
    offers: tuple[str, ...] = ()
    again: bool = True
    nthreads: int = 0
    memory: int = 0
    complete: bool = False

    @property
    def rank(self) -> int:
        """The number of the rank."""
        return self.hello.rank

    @property
    def name(self) -> str:
        """The rank's name in messages."""
        return f"rank {self.rank} on {self.node.name}"

    def share(self, of_all: int) -> int:
        """Return what its workers have of an amount that all that it offers have."""
        return of_all * len(self.workers) // max(len(self.offers), 1)

    def tell(self, message: Message) -> None:
        """Send the rank a message."""
        self.node.channel.send(m.OfRank(self.rank, message))


class Roster:
    """The nodes and their ranks.

    Parameters
    ----------
    size : int
        The number of ranks in the launch.
    workers : iterable of int
        The ranks that have workers.

    Attributes
    ----------
    size : int
        The number of ranks in the launch.
    nodes : dict of Node
        The connected nodes, in the order in which they came.
    missing : set of int
        The ranks whose workers are expected, and not up yet.
    staying : set of Node
        The nodes with ranks that have not stopped yet.
    registered : int
        Number of the workers that are up.
    """

    def __init__(self, size: int, workers: Iterable[int]) -> None:
        self.size = size
        self.nodes: dict[Node, None] = {}
        self._members: dict[int, Member] = {}
        self._arrived: set[int] = set()
        self._not_awaited: set[int] = set()
        self._first_came: set[str] = set()
        self._on_host: dict[str, list[Member]] = {}
        self._waiting: dict[str, list[Member]] = {}
        self.missing = set(workers)
        self.staying: set[Node] = set()
        self.registered = 0

    # --- connected nodes, joined ranks --------------------------------------

    @property
    def members(self) -> tuple[Member, ...]:
        """The ranks that have joined."""
        return tuple(self._members.values())

    def member(self, rank: int | None) -> Member | None:
        """Return a rank; None if it is not connected, or if *rank* is None."""
        return None if rank is None else self._members.get(rank)

    @property
    def assembled(self) -> bool:
        """Whether every rank has arrived."""
        # Called for each message, so it only makes a set if it has to.
        came = self._arrived | self._not_awaited if self._not_awaited else self._arrived
        return len(came) == self.size

    @property
    def arrived(self) -> frozenset[int]:
        """The ranks that have arrived, and those that are waited for no more."""
        return frozenset(self._arrived | self._not_awaited)

    def has_only_the_node_of(self, rank: int) -> bool:
        """Return whether no node but that rank's is connected."""
        return all(rank in node.members for node in self.nodes)

    def may_join(self, rank: int) -> bool:
        """Return whether this is a rank of the launch that has not arrived yet."""
        return 0 <= rank < self.size and rank not in self._arrived

    def never_came(self) -> list[int]:
        """Return the ranks that have not arrived."""
        return sorted(set(range(self.size)) - self.arrived)

    def note_absent(self, rank: int, node: str) -> bool:
        """Note that a rank will never join; return False if it has arrived already.

        *rank* is -1 for the rank with local rank 0 on that node if its number is not
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
        """Return the names of the ranks whose workers are not up."""
        return [
            f"rank {rank}" if rank not in self._members else self._members[rank].name
            for rank in sorted(self.missing)
        ]

    # --- who comes and goes -------------------------------------------------

    def connect(self, hello: m.NodeHello, channel: Channel) -> Node:
        """Add a node, which has no ranks yet."""
        node = Node(hello.name, channel, time.monotonic())
        self.nodes[node] = None
        return node

    def add(self, node: Node, hello: m.Hello) -> Member:
        """Add a rank to a node."""
        member = Member(node, hello)
        self._members[member.rank] = node.members[member.rank] = member
        self._arrived.add(member.rank)
        if hello.local_rank == 0:
            self._first_came.add(node.name)
        self.staying.add(node)
        self._on_host.setdefault(node.name, []).append(member)
        self._waiting.setdefault(node.name, []).append(member)
        return member

    def disconnect(self, node: Node) -> None:
        """Remove a node, which has no ranks any more."""
        self.nodes.pop(node, None)
        self.staying.discard(node)

    def remove(self, member: Member) -> None:
        """Remove a rank and its workers."""
        node = member.node
        del self._members[member.rank], node.members[member.rank]
        if not node.members:
            self.staying.discard(node)
        self._on_host[node.name].remove(member)
        if member in (waiting := self._waiting[node.name]):
            waiting.remove(member)
        self._forget_workers(member)

    def stop_waiting_for(self, rank: int) -> None:
        """Wait no more for a rank, which has left a notice; it may still join."""
        self._not_awaited.add(rank)
        self.missing.discard(rank)

    def give_up(self, member: Member) -> None:
        """Remove the workers of a rank, and expect no more of them."""
        self.missing.discard(member.rank)
        self._forget_workers(member)

    def _forget_workers(self, member: Member) -> None:
        self.registered -= len(member.workers)
        member.workers = member.offers = ()

    def worker_left(self, member: Member, name: str) -> None:
        """Remove one worker of a rank, which has been retired."""
        if name in member.workers:
            member.workers = tuple(one for one in member.workers if one != name)
            self.registered -= 1

    def worker_up(self, member: Member, name: str) -> None:
        """Add one worker of a rank, which has been started again."""
        if name in member.offers and name not in member.workers:
            member.workers = (*member.workers, name)
            self.registered += 1

    def workers_up(self, member: Member, message: m.WorkersUp) -> None:
        """Note that a rank's workers are up."""
        self.registered += len(message.names) - len(member.workers)
        self.missing.discard(member.rank)
        member.workers = member.offers = tuple(message.names)
        member.again = message.again
        member.complete = True
        member.nthreads, member.memory = message.nthreads, message.memory

    # --- who waits for its start --------------------------------------------

    def waiting(self, host: str | None = None) -> list[str]:
        """Return the hosts with ranks that have not been started, or only *host*."""
        hosts = list(self._waiting) if host is None else [host]
        return [each for each in hosts if self._waiting.get(each)]

    def start(
        self,
        host: str,
        address: str,
        *,
        impatient: bool,
        holds: Callable[[int], bool],
    ) -> list[tuple[Node, m.Starts]]:
        """Take the ranks of a host that can start off the list of those that wait.

        Parameters
        ----------
        host : str
        address : str
            The scheduler's address.
        impatient : bool
            Whether ranks no longer wait for others of their host.
        holds : callable
            Says of a rank whether it must not start.

        Returns
        -------
        list of (Node, Starts)
            The nodes with such ranks, and the message for each.
        """
        starting: dict[Node, list[Member]] = {}
        waiting = []
        for member in self._waiting[host]:
            able = self._knows_its_host(member, impatient=impatient)
            if able and not holds(member.rank):
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
        # It may share the agent of the first rank, which has to be there for that.
        alone = hello.local_rank > 0 and node.name not in self._first_came
        unsure = hello.asks and len(self._on_host[node.name]) < hello.local_size
        return impatient or not (alone or unsure)


def _are_all(here: list[Member], one: Member) -> bool:
    """Return whether *here* has all ranks of a host, as far as *one* of them knows."""
    return one.hello.local_size in (0, len(here))
