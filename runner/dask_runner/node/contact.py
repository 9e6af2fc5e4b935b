"""A rank's contact with the hub: how it comes about, and what is said over it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError, RunnerError
from dask_runner.hub import messages as m
from dask_runner.meeting.record import with_address
from dask_runner.node import find_hub
from dask_runner.node.events import Source
from dask_runner.node.uplink import Uplink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dask_runner.launch.launch import Launch
    from dask_runner.meeting.base import Meeting
    from dask_runner.meeting.notice import Notices
    from dask_runner.meeting.record import Record
    from dask_runner.node.events import Event


class Contact:
    """The meeting, the record that comes of it, and the connection.

    Parameters
    ----------
    launch : Launch
    meeting : Meeting
    node : str
        The name of the rank's node.
    events : asyncio.Queue
        Gets ``(Source.meeting, Linked)`` or ``("meeting", Broken)``, and what
        :class:`~dask_runner.node.uplink.Uplink` gives.

    Attributes
    ----------
    record : Record or None
        In rank 0, once it has opened the hub; in the others once they are linked.
    link : Uplink or None
        The connection, once there is one.
    published : bool
        In rank 0: whether others can have found the record.
    """

    def __init__(
        self, launch: Launch, meeting: Meeting, node: str, events: asyncio.Queue[Event]
    ) -> None:
        self._rank = launch.world.rank
        self._timeout = launch.settings.timeout
        self._silence = launch.settings.silence
        self._meeting = meeting
        self._node = node
        self._events = events
        self._met = asyncio.Event()
        self._error: RunnerError | None = None
        self._unsaid: list[m.Message] = []
        self.record: Record | None = None
        self.link: Uplink | None = None
        self.published = False

    # --- the meeting --------------------------------------------------------

    async def meet(self) -> None:
        """Find the hub, or let it be found."""
        if self.record is not None:
            found = await self._be_found(self.record)
        else:
            found = await find_hub.find(
                self._rank, self._node, self._meeting, self._timeout
            )
        await self._events.put((Source.meeting, found))

    async def _be_found(self, record: Record) -> find_hub.Linked | find_hub.Broken:
        try:
            await self._meeting.publish(record)
        except RunnerError as error:
            return find_hub.Broken(error)
        self.published = True
        return await find_hub.reach(record)

    def linked(self, found: find_hub.Linked) -> Uplink:
        """Take note of what was found."""
        self.record = found.record
        self.link = Uplink(found.channel, self._events, self._silence)
        self._met.set()
        return self.link

    def broken(self, error: RunnerError) -> None:
        """Take note that nothing was found."""
        self._error = error
        self._met.set()

    async def made(self) -> Record:
        """Return the record, once there is a connection.

        Raises
        ------
        RunnerError
            If there is none, and will be none.
        """
        await self._met.wait()
        if self._error is not None:
            raise self._error
        return self.known

    @property
    def known(self) -> Record:
        """The record, where there has to be one: the hub has spoken."""
        assert self.record is not None  # noqa: S101  over the link
        return self.record

    @property
    def host(self) -> str:
        """The address of this end, where there has to be one."""
        assert self.link is not None  # noqa: S101  the hub has spoken over it
        return self.link.host

    @property
    def files(self) -> Sequence[str]:
        """The files of the record that this rank has written."""
        return self._meeting.files

    @property
    def trouble(self) -> str:
        """What keeps the rank from meeting the hub."""
        return self._meeting.trouble

    async def add_address(self, address: str) -> None:
        """Let clients from outside find the scheduler by the record as well."""
        try:
            await self._meeting.publish(with_address(self.known, address))
        except ConfigError as error:
            # The ranks have met; only clients from outside miss the address.
            self.say(m.Note(str(error)))

    @property
    def is_near(self) -> bool:
        """Whether the hub will be reached in a moment."""
        return self._meeting.has_come

    # --- the connection -----------------------------------------------------

    def say(self, message: m.Message) -> None:
        """Send a message, or keep it until there is a connection."""
        if self.link is not None:
            self.link.say(message)
        else:
            self._unsaid.append(message)

    def catch_up(self) -> None:
        """Say what happened before there was a connection."""
        unsaid, self._unsaid = self._unsaid, []
        for message in unsaid:
            self.say(message)

    def hush(self) -> None:
        """Forget what was kept: a notice says why all end."""
        self._unsaid.clear()

    @property
    def absent(self) -> list[m.Absent]:
        """The ranks of whose absence the hub has not been told."""
        return [one for one in self._unsaid if isinstance(one, m.Absent)]

    def fail(self, error: RunnerError) -> None:
        """Say that the rank cannot do its part."""
        self.say(m.Failed(error.saw, error.needed, error.do, error.status))

    def close(self) -> None:
        """Be lost for the hub."""
        if self.link is not None:
            self.link.close()

    # --- where there is no connection ---------------------------------------

    @property
    def notices(self) -> Notices:
        """Where those who do not meet leave notices."""
        return self._meeting.notices

    # --- the end ------------------------------------------------------------

    def inherit(self) -> None:
        """Withdraw the record in rank 0's place, which is gone, at the end."""
        if self.record is not None and not (self.link and self.link.silent):
            # Closed by rank 0's kernel: nobody is left there to withdraw it.
            self._meeting.adopt(self.record)

    def withdraw(self) -> None:
        """Remove what others could find."""
        self._meeting.withdraw()

    async def settle(self) -> None:
        """Let the meeting come to its own end."""
        await self._meeting.settle()

    async def closed(self) -> None:
        """Close the connection, and wait until what was said has left."""
        if self.link is not None:
            await self.link.closed()
