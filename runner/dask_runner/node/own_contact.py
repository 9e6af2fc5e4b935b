"""The contact of the rank that meets the hub for its node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError, RunnerError
from dask_runner.hub import messages as m
from dask_runner.launch import agreed
from dask_runner.meeting import cluster_directory
from dask_runner.meeting.record import with_address
from dask_runner.node import find_hub
from dask_runner.node.connection import Connection
from dask_runner.node.contact import Met, RankContact

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from dask_runner.launch.launch import Launch
    from dask_runner.meeting.base import Meeting
    from dask_runner.meeting.notice import Notices
    from dask_runner.meeting.record import Record


class OwnContact(RankContact):
    """The contact of a leader, which finds the hub for its node.

    Parameters
    ----------
    launch : Launch
    meeting : Meeting
    node : str
        The name of the host.
    """

    def __init__(self, launch: Launch, meeting: Meeting, node: str) -> None:
        super().__init__(launch.world.rank)
        self._timeout = launch.settings.timeout
        self._silence = launch.settings.silence
        self._environ = launch.environ
        self._told = agreed.told(launch)
        self._meeting = meeting
        self._node = node

    async def meet(self, record: Record | None) -> Met | find_hub.Broken:
        """Find the hub by its record; in rank 0, publish the record."""
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

    def _introduce(self, connection: Connection) -> None:
        connection.say(m.NodeHello(self._node))
        if self._rank:
            connection.say(m.Told(self._told))

    def services(self) -> Sequence[Coroutine[None, None, None]]:
        """Return the coroutines that listen to the hub, tell it, and measure."""
        connection = self.met.connection
        return connection.listen(), connection.beat(), connection.usage.keep_looking()

    async def add_address(self, address: str) -> None:
        """Add the scheduler's address to the record, for clients elsewhere."""
        try:
            await self._meeting.publish(with_address(self.met.record, address))
        except ConfigError as error:
            # The ranks have met; only clients elsewhere miss the address.
            self.say(m.Note(str(error)))

    @property
    def collective(self) -> bool:
        """Whether each rank has to come to the meeting itself."""
        return self._meeting.collective

    @property
    def notices(self) -> Notices:
        """The place for notices of ranks that cannot join."""
        return self._meeting.notices

    @property
    def trouble(self) -> str:
        """What keeps the rank from meeting the hub."""
        return self._meeting.trouble

    @property
    def is_near(self) -> bool:
        """Whether the record has come, so that the hub is found in a moment."""
        return self._meeting.has_come

    @property
    def files(self) -> Sequence[str]:
        """The files of the record that this rank may write."""
        return self._meeting.files

    def inherit(self) -> bool:
        """Take over from rank 0, which is lost, to withdraw its record at the end.

        The cluster's name goes at once.
        """
        if not self.has_met or self.met.connection.silent:
            return False
        # Rank 0's kernel closed the connection: no process is left to withdraw it.
        self._meeting.adopt(self.met.record.nonce)
        cluster_directory.remove_of(self.met.record.nonce, self._environ)
        return True

    def withdraw(self) -> None:
        """Remove the record and notices, so that no rank finds them any more."""
        self._meeting.withdraw()

    async def finished(self) -> None:
        """Wait until the meeting has ended by itself."""
        await self._meeting.finished()

    async def closed(self) -> None:
        """Close the connection, and wait until all messages are sent."""
        if self.has_met:
            await self.met.connection.closed()
