"""Who takes part in a cluster, as its hub knows them: nodes, and ranks that joined."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from dask_runner.hub import messages as m

if TYPE_CHECKING:
    from dask_runner.wire.channel import Channel
    from dask_runner.wire.message import Message

#: A host, as a place of one group: the ranks of another there are no concern of its.
Host = tuple[str, str]


class Stay(StrEnum):
    """How long a group's ranks stay."""

    #: Until the cluster ends.
    stays = "stays"
    #: Until the workers are retired.
    leaves = "leaves"
    #: It has no workers any more.
    left = "left"


@dataclass(eq=False)
class Group:
    """The ranks that one launch has started: the cluster's own, or a join's.

    Attributes
    ----------
    size : int
        The number of ranks.
    number : int
        0 for the cluster's own launch; of a join, its number.
    arrived : set of int
        The ranks that have arrived, or never will.
    not_awaited : set of int
        Those that may still come, and are waited for no more.
    impatient : bool
        Whether its ranks no longer wait for others of their host.
    stay : Stay
        Whether it is a join that is leaving, or has left.
    """

    size: int
    number: int = 0
    arrived: set[int] = field(default_factory=set)
    not_awaited: set[int] = field(default_factory=set)
    impatient: bool = False
    stay: Stay = Stay.stays

    @property
    def join(self) -> str:
        """The join's name; empty for the cluster's own launch."""
        return f"j{self.number}" if self.number else ""

    @property
    def leaves(self) -> bool:
        """Whether it is a join that is leaving, or has left."""
        return self.stay is not Stay.stays

    @property
    def assembled(self) -> bool:
        """Whether every rank has arrived."""
        # Called for each message, so it only makes a set if it has to.
        more = self.not_awaited
        return len(self.arrived | more if more else self.arrived) == self.size

    def may_join(self, rank: int) -> bool:
        """Return whether this is a rank of the launch that has not arrived yet."""
        return 0 <= rank < self.size and rank not in self.arrived

    def name_of(self, rank: int) -> str:
        """Return a rank's name in messages, without its node."""
        return f"rank {rank} of join {self.join}" if self.join else f"rank {rank}"


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
    group : Group
        Those of its launch, to whom its ranks belong.
    members : dict of int to Member
        Its ranks.
    refused : set of int
        Ranks of the node that the hub has refused.
    first : int or None
        The lowest number of a rank that it has had; None as long as it has had none.
    """

    name: str
    channel: Channel
    heard: float
    group: Group
    members: dict[int, Member] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)
    first: int | None = None

    def add(self, member: Member) -> None:
        """Add a rank."""
        self.members[member.rank] = member
        if self.first is None or member.rank < self.first:
            self.first = member.rank

    @property
    def order(self) -> tuple[int, bool, int]:
        """Its place in the order of all nodes: that of their ranks."""
        return self.group.number, self.first is None, self.first or 0

    @property
    def host(self) -> Host:
        """Its host."""
        return self.group.join, self.name


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
        """The number of the rank in its launch."""
        return self.hello.rank

    @property
    def join(self) -> str:
        """The name of its join; empty for a rank of the cluster's own launch."""
        return self.node.group.join

    @property
    def order(self) -> tuple[int, int]:
        """Its place in the order of all ranks."""
        return self.node.group.number, self.rank

    @property
    def worker(self) -> str:
        """The name of its first worker, unless the library's user has chosen others."""
        return f"{self.join}.{self.rank}" if self.join else str(self.rank)

    @property
    def name(self) -> str:
        """The rank's name in messages."""
        return f"{self.node.group.name_of(self.rank)} on {self.node.name}"

    def share(self, of_all: int) -> int:
        """Return what its workers have of an amount that all that it offers have."""
        return of_all * len(self.workers) // max(len(self.offers), 1)

    def tell(self, message: Message) -> None:
        """Send the rank a message."""
        self.node.channel.send(m.OfRank(self.rank, message))
