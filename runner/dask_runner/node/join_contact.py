"""The contact of a join's leader, whose hub is that of a running cluster."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from dask_runner.errors import RunnerError, UnavailableError
from dask_runner.hub import messages as m
from dask_runner.hub.ask import SilentError, answer
from dask_runner.hub.requests import AskJoin
from dask_runner.launch.handed_out import batch_job
from dask_runner.launch.walltime import (
    END_BEFORE_SECONDS,
    LEAVE_BEFORE_SECONDS,
    end_time,
)
from dask_runner.node import find_hub
from dask_runner.node.connection import Connection
from dask_runner.node.contact import Met
from dask_runner.node.own_contact import OwnContact
from dask_runner.wire import mutual_tls

if TYPE_CHECKING:
    from dask_runner.launch.launch import Launch
    from dask_runner.meeting.by_name import NameMeeting
    from dask_runner.meeting.record import Record
    from dask_runner.wire.channel import Channel


class JoinContact(OwnContact):
    """The contact of a leader that joins a running cluster.

    Parameters
    ----------
    launch : Launch
    meeting : NameMeeting
    node : str
        The name of the host.
    """

    def __init__(self, launch: Launch, meeting: NameMeeting, node: str) -> None:
        super().__init__(launch, meeting, node=node)
        self._launch = launch
        self._by_name = meeting

    async def meet(self, record: Record | None) -> Met | find_hub.Broken:
        """Find the cluster, and ask its hub to let the node in."""
        del record  # that of a cluster of one's own
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                return await self._first_that_lets_in()
        except TimeoutError:
            error = self._by_name.waited(self._rank, self._node, began)
            return find_hub.Broken(error)
        except RunnerError as error:
            return find_hub.Broken(error)

    async def _first_that_lets_in(self) -> Met:
        async for record in self._by_name.records():
            try:
                channel = await mutual_tls.connect(
                    record, find_hub.FIRST_ATTEMPT_SECONDS
                )
            except (OSError, TimeoutError, mutual_tls.StrangerError):
                continue  # stale, or out of reach: the meeting says so at the deadline
            if join := await self._ask(channel):
                return Met(record, Connection(channel, self._silence), join)
        raise AssertionError("a meeting offers records for ever")

    async def _ask(self, channel: Channel) -> str:
        """Return the name of the join; "" if the hub does not let the node in now."""
        channel.send(self._request())
        try:
            return (await answer(channel, m.Joined)).join
        except SilentError as why:
            self._by_name.denied(str(why))
        except RunnerError as error:
            if error.status != UnavailableError.status:
                raise
            self._by_name.denied(error.saw)
        channel.abort()
        return ""

    def _request(self) -> AskJoin:
        world, settings = self._launch.world, self._launch.settings
        leaves_in, ends_at = -1.0, end_time(self._launch.environ)
        before = settings.stop_before
        before = LEAVE_BEFORE_SECONDS if before is None else before
        if ends_at is not None:
            leaves_in = max(0.0, ends_at - before - time.time())
        launcher, job_id, key = world.launcher, world.job_id, world.key
        if launcher == "local":
            # Its number is that of a process, of which each host has one.
            launcher, job_id = batch_job(self._launch.environ)
            key = f"{key}@{self._node}"
        return AskJoin(
            self._node,
            key,
            world.size,
            launcher,
            job_id,
            settings.grace,
            leaves_in,
            # Tasks may use the time that is left, but for the end of the processes.
            max(settings.grace, before - END_BEFORE_SECONDS),
        )

    def _introduce(self, connection: Connection) -> None:
        """Do nothing: the hub knows the node since it has let it in."""
