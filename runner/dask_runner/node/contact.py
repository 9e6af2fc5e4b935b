"""A rank's contact with the hub: how it comes about, and what is said over it.

The rank that leads its node meets the hub (:class:`Contact`); those that it plays use
its connection (:class:`SharedContact`).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError, RunnerError
from dask_runner.hub import messages as m
from dask_runner.meeting.record import with_address
from dask_runner.node import find_hub
from dask_runner.node.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from dask_runner.launch.launch import Launch
    from dask_runner.meeting.base import Meeting
    from dask_runner.meeting.notice import Notices
    from dask_runner.meeting.record import Record
    from dask_runner.node.events import Event


@dataclass(frozen=True, slots=True)
class Met:
    """The hub has been found: its record, and the node's connection."""

    record: Record
    connection: Connection


class RankContact(ABC):
    """What a rank has of its node's contact with the hub.

    Parameters
    ----------
    rank : int

    Attributes
    ----------
    published : bool
        In rank 0: whether others can have found the record.
    """

    def __init__(self, rank: int) -> None:
        self._rank = rank
        self._found = asyncio.Event()
        self._outcome: Met | RunnerError | None = None
        self._unsaid: list[m.Message] = []
        self.published = False

    # --- how it comes about -------------------------------------------------

    @abstractmethod
    async def meet(self, record: Record | None) -> Met | find_hub.Broken:
        """Find the hub, or let it be found by its record (rank 0)."""

    def found(self, outcome: Met | RunnerError) -> None:
        """Take note of what has come of it."""
        self._outcome = outcome
        self._found.set()

    async def made(self) -> Met:
        """Wait until the hub is found.

        Raises
        ------
        RunnerError
            If it is not, and will not be.
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
        """What was found, where something was: the hub has spoken."""
        match self._outcome:
            case Met() as met:
                return met
        raise LookupError("nothing has come from the hub before it was found")

    # --- what is said -------------------------------------------------------

    def join(
        self,
        home: str,
        hello: m.Hello,
        events: asyncio.Queue[Event],
        look_around: Callable[[float], None],
    ) -> None:
        """Bring the rank to the hub, and say what was to be said before.

        *home* is the name of the agent that it may share; the rest is as in
        :meth:`Connection.join`.
        """
        connection = self.met.connection
        self._introduce(connection, home)
        connection.join(hello, events, look_around)
        unsaid, self._unsaid = self._unsaid, []
        for message in unsaid:
            connection.say(message)

    @abstractmethod
    def _introduce(self, connection: Connection, home: str) -> None:
        """Say what the node is, if this is its first rank."""

    def say(self, message: m.Message) -> None:
        """Say something of this rank, now or when it joins."""
        if self.has_met:
            self.met.connection.say_of(self._rank, message)
        else:
            self._unsaid.append(m.OfRank(self._rank, message))

    def tell(self, message: m.Absent | m.Signalled) -> None:
        """Say something of a rank beside this one that has not joined."""
        if self.has_met:
            self.met.connection.say(message)
        else:
            self._unsaid.append(message)

    def fail(self, error: RunnerError) -> None:
        """Say that the rank cannot do its part."""
        self.say(m.Failed(error.saw, error.needed, error.do, error.status))

    def hush(self) -> None:
        """Forget what was kept: a notice says why all end."""
        self._unsaid.clear()

    @property
    def absent(self) -> list[m.Absent]:
        """The ranks of whose absence the hub has not been told."""
        return [one for one in self._unsaid if isinstance(one, m.Absent)]

    def bye(self) -> None:
        """Say that the rank has stopped all that is its own."""
        if self.has_met:
            self.met.connection.bye(self._rank)

    def lose(self, why: str) -> None:
        """Say that the rank is lost."""
        if self.has_met:
            self.met.connection.lose(self._rank, why)

    # --- the meeting --------------------------------------------------------

    @property
    @abstractmethod
    def notices(self) -> Notices:
        """Where those who do not meet leave notices."""

    @property
    @abstractmethod
    def trouble(self) -> str:
        """What keeps the rank from meeting the hub."""

    @property
    @abstractmethod
    def is_near(self) -> bool:
        """Whether the hub will be reached in a moment."""

    @property
    @abstractmethod
    def files(self) -> Sequence[str]:
        """The files of the record that this rank has written."""

    @abstractmethod
    async def add_address(self, address: str) -> None:
        """Let clients from outside find the scheduler by the record as well."""

    @abstractmethod
    def services(self) -> Sequence[Coroutine[None, None, None]]:
        """Return what has to run for the connection, in this rank."""

    # --- the end ------------------------------------------------------------

    @abstractmethod
    def inherit(self) -> None:
        """Withdraw the record in rank 0's place, which is gone, at the end."""

    @abstractmethod
    def withdraw(self) -> None:
        """Remove what others could find."""

    @abstractmethod
    async def settle(self) -> None:
        """Wait until the meeting has come to its own end."""

    @abstractmethod
    async def closed(self) -> None:
        """Leave the connection, and wait until what was said has left."""


class Contact(RankContact):
    """The contact of the rank that meets the hub for its node.

    Parameters
    ----------
    launch : Launch
    meeting : Meeting
    node : str
        The name of its host.
    """

    def __init__(self, launch: Launch, meeting: Meeting, node: str) -> None:
        super().__init__(launch.world.rank)
        self._timeout = launch.settings.timeout
        self._silence = launch.settings.silence
        self._meeting = meeting
        self._node = node

    async def meet(self, record: Record | None) -> Met | find_hub.Broken:
        """Find the hub by its record, or let it be found (rank 0)."""
        found = await (self._find() if record is None else self._be_found(record))
        if isinstance(found, find_hub.Broken):
            return found
        return Met(found.record, Connection(found.channel, self._silence))

    async def _find(self) -> find_hub.Linked | find_hub.Broken:
        return await find_hub.find(self._rank, self._node, self._meeting, self._timeout)

    async def _be_found(self, record: Record) -> find_hub.Linked | find_hub.Broken:
        try:
            await self._meeting.publish(record)
        except RunnerError as error:
            return find_hub.Broken(error)
        self.published = True
        return await find_hub.reach(record)

    def _introduce(self, connection: Connection, home: str) -> None:
        connection.say(m.NodeHello(self._node, home))

    def services(self) -> Sequence[Coroutine[None, None, None]]:
        """Listen to the hub, and give it signs of life."""
        return self.met.connection.listen(), self.met.connection.beat()

    async def add_address(self, address: str) -> None:
        """Let clients from outside find the scheduler by the record as well."""
        try:
            await self._meeting.publish(with_address(self.met.record, address))
        except ConfigError as error:
            # The ranks have met; only clients from outside miss the address.
            self.say(m.Note(str(error)))

    @property
    def notices(self) -> Notices:
        """Where those who do not meet leave notices."""
        return self._meeting.notices

    @property
    def trouble(self) -> str:
        """What keeps the rank from meeting the hub."""
        return self._meeting.trouble

    @property
    def is_near(self) -> bool:
        """Whether the record has come, so that the hub is reached in a moment."""
        return self._meeting.has_come

    @property
    def files(self) -> Sequence[str]:
        """The files of the record that this rank has written."""
        return self._meeting.files

    def inherit(self) -> None:
        """Withdraw the record in rank 0's place, which is gone, at the end."""
        if self.has_met and not self.met.connection.silent:
            # Closed by rank 0's kernel: nobody is left there to withdraw it.
            self._meeting.adopt(self.met.record)

    def withdraw(self) -> None:
        """Remove what others could find."""
        self._meeting.withdraw()

    async def settle(self) -> None:
        """Wait until the meeting has come to its own end."""
        await self._meeting.settle()

    async def closed(self) -> None:
        """Close the connection, and wait until what was said has left."""
        if self.has_met:
            await self.met.connection.closed()


class SharedContact(RankContact):
    """The contact of a rank that the node's leader plays.

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

    def _introduce(self, connection: Connection, home: str) -> None:
        """Nothing: the leader has done so."""

    async def add_address(self, address: str) -> None:
        """Nothing: the record is rank 0's."""

    def services(self) -> Sequence[Coroutine[None, None, None]]:
        """Nothing: the leader listens for all."""
        return ()

    @property
    def notices(self) -> Notices:
        """Where the leader leaves notices."""
        return self._leader.notices

    @property
    def trouble(self) -> str:
        """What keeps the leader from meeting the hub."""
        return self._leader.trouble

    @property
    def is_near(self) -> bool:
        """Whether the leader has met the hub."""
        return self._leader.has_met

    def inherit(self) -> None:
        """Nothing: the leader does so."""

    def withdraw(self) -> None:
        """Nothing: what others could find is the leader's."""

    async def settle(self) -> None:
        """Nothing: the meeting is the leader's."""

    async def closed(self) -> None:
        """Leave the connection to the others."""
        self.lose("it has ended")
