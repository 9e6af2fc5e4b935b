"""A rank's contact with the hub: how it is found, and the messages to it.

The leader of a node finds the hub (:class:`.own_contact.OwnContact`); the ranks for
which it plays use its connection (:class:`SharedContact`).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_runner.errors import RunnerError
from dask_runner.hub import messages as m
from dask_runner.node import find_hub

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from dask_runner.meeting.notice import Notices
    from dask_runner.meeting.record import Record
    from dask_runner.node.connection import Connection
    from dask_runner.node.events import Event
    from dask_runner.wire.message import Message


@dataclass(frozen=True, slots=True)
class Met:
    """The hub has been found: its record, and the node's connection.

    *join* is the name of the join whose node this is; empty for the cluster's own.
    """

    record: Record
    connection: Connection
    join: str = ""


class RankContact(ABC):
    """A rank's contact with the hub, over its node's connection.

    Parameters
    ----------
    rank : int

    Attributes
    ----------
    published : bool
        In rank 0: whether others may have found the record.
    """

    def __init__(self, rank: int) -> None:
        self._rank = rank
        self._found = asyncio.Event()
        self._outcome: Met | RunnerError | None = None
        self._unsent: list[Message] = []
        self.published = False

    # --- how it comes about -------------------------------------------------

    @abstractmethod
    async def meet(self, record: Record | None) -> Met | find_hub.Broken:
        """Find the hub; in rank 0, publish its record."""

    def found(self, outcome: Met | RunnerError) -> None:
        """Note the outcome of the search for the hub."""
        self._outcome = outcome
        self._found.set()

    async def made(self) -> Met:
        """Wait until the hub is found.

        Raises
        ------
        RunnerError
            If the hub will not be found.
        """
        await self._found.wait()
        if isinstance(self._outcome, RunnerError):
            raise self._outcome
        return self.met

    @property
    def has_met(self) -> bool:
        """Whether there is a connection."""
        return isinstance(self._outcome, Met)

    @property
    def met(self) -> Met:
        """The hub's record, and the connection to it."""
        match self._outcome:
            case Met() as met:
                return met
        raise LookupError("the hub has not been found yet")

    # --- what is said -------------------------------------------------------

    def join(
        self,
        hello: m.Hello,
        events: asyncio.Queue[Event],
        look_around: Callable[[float], None],
    ) -> None:
        """Join the rank to the hub, and send the messages that had to wait.

        The parameters are those of :meth:`Connection.join`.
        """
        connection = self.met.connection
        self._introduce(connection)
        connection.join(hello, events, look_around)
        unsent, self._unsent = self._unsent, []
        for message in unsent:
            connection.say(message)

    @abstractmethod
    def _introduce(self, connection: Connection) -> None:
        """Introduce the node to the hub, if this is its first rank."""

    def say(self, message: Message) -> None:
        """Send a message of this rank, now or when it joins."""
        if self.has_met:
            self.met.connection.say_of(self._rank, message)
        else:
            self._unsent.append(m.OfRank(self._rank, message))

    def report_another(self, message: m.Absent | m.Signalled) -> None:
        """Send a message about another rank, which has not joined."""
        if self.has_met:
            self.met.connection.say(message)
        else:
            self._unsent.append(message)

    def fail(self, error: RunnerError) -> None:
        """Report that the rank cannot go on."""
        self.say(m.Failed(error.saw, error.needed, error.do, error.status))

    def drop_unsent(self) -> None:
        """Drop the messages that wait: a notice says why all ranks end."""
        self._unsent.clear()

    @property
    def absent(self) -> list[m.Absent]:
        """The absent ranks that have not been reported to the hub."""
        return [one for one in self._unsent if isinstance(one, m.Absent)]

    def bye(self) -> None:
        """Report that the rank has stopped its processes."""
        if self.has_met:
            self.met.connection.bye(self._rank)

    def lose(self, why: str) -> None:
        """Report that the rank is lost."""
        if self.has_met:
            self.met.connection.lose(self._rank, why)

    # --- the meeting --------------------------------------------------------

    @property
    @abstractmethod
    def notices(self) -> Notices:
        """The place for notices of ranks that cannot join."""

    @property
    @abstractmethod
    def trouble(self) -> str:
        """What keeps the rank from meeting the hub."""

    @property
    @abstractmethod
    def is_near(self) -> bool:
        """Whether the hub will be found in a moment."""

    @property
    @abstractmethod
    def files(self) -> Sequence[str]:
        """The files of the record that this rank may write."""

    @abstractmethod
    async def add_address(self, address: str) -> None:
        """Add the scheduler's address to the record, for clients elsewhere."""

    @abstractmethod
    def services(self) -> Sequence[Coroutine[None, None, None]]:
        """Return the coroutines that this rank has to run for the connection."""

    # --- the end ------------------------------------------------------------

    @abstractmethod
    def inherit(self) -> bool:
        """Take over from rank 0, which is lost, to withdraw the record at the end.

        Returns
        -------
        bool
            Whether rank 0 is known to have ended, and this rank has taken over.
        """

    @abstractmethod
    def withdraw(self) -> None:
        """Remove the record and notices, so that no rank finds them any more."""

    @abstractmethod
    async def finished(self) -> None:
        """Wait until the meeting has ended by itself."""

    @abstractmethod
    async def closed(self) -> None:
        """Leave the connection, and wait until all messages are sent."""


class SharedContact(RankContact):
    """The contact of a rank for which the leader plays.

    Parameters
    ----------
    rank : int
    leader : Contact
    """

    files = ()

    def __init__(self, rank: int, leader: RankContact) -> None:
        super().__init__(rank)
        self._leader = leader

    async def meet(self, record: Record | None) -> Met | find_hub.Broken:
        """Wait until the leader has found the hub."""
        del record  # rank 0 leads its node
        try:
            return await self._leader.made()
        except RunnerError as error:
            return find_hub.Broken(error)

    def _introduce(self, connection: Connection) -> None:
        """Do nothing: the leader has introduced the node."""

    async def add_address(self, address: str) -> None:
        """Do nothing: the record is rank 0's."""

    def services(self) -> Sequence[Coroutine[None, None, None]]:
        """Return nothing: the leader listens for all ranks."""
        return ()

    @property
    def notices(self) -> Notices:
        """The place where the leader leaves notices."""
        return self._leader.notices

    @property
    def trouble(self) -> str:
        """What keeps the leader from meeting the hub."""
        return self._leader.trouble

    @property
    def is_near(self) -> bool:
        """Whether the leader has met the hub."""
        return self._leader.has_met

    def inherit(self) -> bool:
        """Return False: the leader takes over."""
        return False

    def withdraw(self) -> None:
        """Do nothing: the record and notices are the leader's."""

    async def finished(self) -> None:
        """Do nothing: the meeting is the leader's."""

    async def closed(self) -> None:
        """Report the end of the rank; the other ranks keep the connection."""
        self.lose("it has ended")
