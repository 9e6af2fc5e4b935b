"""The roster: which nodes are connected, with which ranks, and whose workers are up.

It keeps counts and sets, so that no message makes the hub search all ranks: for all
messages together that would cost the square of their number. It decides nothing.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from dask_runner.hub import messages as m
from dask_runner.hub.members import Group, Host, Member, Node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dask_runner.wire.channel import Channel


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
    own : Group
        The ranks of the cluster's own launch.
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
        self.own = Group(size)
        self.nodes: dict[Node, None] = {}
        self._members: dict[Member, None] = {}
        self._own: dict[int, Member] = {}
        self._first_came: set[Host] = set()
        self._on_host: dict[Host, list[Member]] = {}
        self._waiting: dict[Host, list[Member]] = {}
        self.missing = set(workers)
        self.staying: set[Node] = set()
        self.registered = 0

    # --- connected nodes, joined ranks --------------------------------------

    @property
    def members(self) -> tuple[Member, ...]:
        """The ranks that have joined."""
        return tuple(self._members)

    def __contains__(self, member: Member) -> bool:
        """Return whether a rank is still there."""
        return member in self._members

    def member(self, rank: int | None) -> Member | None:
        """Return a rank of the cluster's own launch.

        It is None if the rank is not connected, or if *rank* is None.
        """
        return None if rank is None else self._own.get(rank)

    def has_only_the_node_of(self, rank: int) -> bool:
        """Return whether no node but that rank's is connected."""
        return all(
            node.group is self.own and rank in node.members for node in self.nodes
        )

    def never_came(self) -> list[int]:
        """Return the ranks of the cluster's own launch that have not arrived."""
        own = self.own
        return sorted(set(range(own.size)) - own.arrived - own.not_awaited)

    def note_absent(self, rank: int, node: Node) -> bool:
        """Note that a rank will never join; return False if it has arrived already.

        Parameters
        ----------
        rank : int
            -1 for the rank with local rank 0 if its number is not known.
        node : Node
            One of its host.
        """
        if rank < 0:
            return node.host not in self._first_came
        if not node.group.may_join(rank):
            return False
        node.group.arrived.add(rank)
        if node.group is self.own:
            self.missing.discard(rank)
        return True

    def late(self) -> list[str]:
        """Return the names of the ranks whose workers are not up."""
        return [
            f"rank {rank}" if rank not in self._own else self._own[rank].name
            for rank in sorted(self.missing)
        ]

    # --- who comes and goes -------------------------------------------------

    def connect(self, name: str, channel: Channel, group: Group) -> Node:
        """Add a node, which has no ranks yet; *name* is that of its host."""
        node = Node(name, channel, time.monotonic(), group)
        self.nodes[node] = None
        return node

    def add(self, node: Node, hello: m.Hello) -> Member:
        """Add a rank to a node."""
        member = Member(node, hello)
        node.add(member)
        self._members[member] = None
        if node.group is self.own:
            self._own[member.rank] = member
        node.group.arrived.add(member.rank)
        if hello.local_rank == 0:
            self._first_came.add(node.host)
        self.staying.add(node)
        self._on_host.setdefault(node.host, []).append(member)
        self._waiting.setdefault(node.host, []).append(member)
        return member

    def disconnect(self, node: Node) -> None:
        """Remove a node, which has no ranks any more."""
        self.nodes.pop(node, None)
        self.staying.discard(node)

    def remove(self, member: Member) -> None:
        """Remove a rank and its workers."""
        node = member.node
        del self._members[member], node.members[member.rank]
        if node.group is self.own:
            del self._own[member.rank]
        if not node.members:
            self.staying.discard(node)
        self._on_host[node.host].remove(member)
        if member in (waiting := self._waiting[node.host]):
            waiting.remove(member)
        self._forget_workers(member)

    def stop_waiting_for(self, rank: int) -> None:
        """Wait no more for a rank, which has left a notice; it may still join."""
        self.own.not_awaited.add(rank)
        self.missing.discard(rank)

    def give_up(self, member: Member) -> None:
        """Remove the workers of a rank, and expect no more of them."""
        self._is_complete(member)
        self._forget_workers(member)

    def _is_complete(self, member: Member) -> None:
        if member.node.group is self.own:
            self.missing.discard(member.rank)

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
        self._is_complete(member)
        member.workers = member.offers = tuple(message.names)
        member.again = message.again
        member.complete = True
        member.nthreads, member.memory = message.nthreads, message.memory

    # --- who waits for its start --------------------------------------------

    def waiting(self, host: Host | None = None) -> list[Host]:
        """Return the hosts with ranks that have not been started, or only *host*."""
        hosts = list(self._waiting) if host is None else [host]
        waiting = [(each, self._waiting.get(each)) for each in hosts]
        return [each for each, ranks in waiting if ranks and not _leave(ranks)]

    def start(
        self, host: Host, address: str, holds: Callable[[int], bool]
    ) -> list[tuple[Node, m.Starts]]:
        """Take the ranks of a host that can start off the list of those that wait.

        Parameters
        ----------
        host : Host
        address : str
            The scheduler's address.
        holds : callable
            Says of a rank of the cluster's own launch whether it must not start.

        Returns
        -------
        list of (Node, Starts)
            The nodes with such ranks, and the message for each.
        """
        starting: dict[Node, list[Member]] = {}
        waiting = []
        for member in self._waiting[host]:
            held = member.node.group is self.own and holds(member.rank)
            if not held and self._knows_its_host(member):
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

    def _knows_its_host(self, member: Member) -> bool:
        """Return whether a rank can start without others of its host."""
        hello, node = member.hello, member.node
        if node.group.assembled:
            return True
        if not hello.local_size:
            # Its launcher does not tell whether others of its host are to come.
            return node.group.impatient
        # It may share the agent of the first rank, which has to be there for that.
        alone = hello.local_rank > 0 and node.host not in self._first_came
        unsure = hello.asks and len(self._on_host[node.host]) < hello.local_size
        return node.group.impatient or not (alone or unsure)


def _leave(here: list[Member]) -> bool:
    """Return whether these ranks of a host leave."""
    return here[0].node.group.leaves


def _are_all(here: list[Member], one: Member) -> bool:
    """Return whether *here* has all ranks of a host, as far as *one* of them knows."""
    return one.hello.local_size in (0, len(here))
