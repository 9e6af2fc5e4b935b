"""What rank 0 has beside a part of its own: the hub, and the state of the cluster."""

from __future__ import annotations

import asyncio
import secrets
import socket
from typing import TYPE_CHECKING

from dask_runner.hub.cluster import Cluster
from dask_runner.hub.report import Reporter
from dask_runner.hub.server import Hub
from dask_runner.launch.slurm import end_time
from dask_runner.meeting import tls as security
from dask_runner.meeting.addresses import own_address
from dask_runner.meeting.base import FIRST_POLL, LAST_POLL
from dask_runner.meeting.record import Record

if TYPE_CHECKING:
    from dask_runner.errors import RunnerError, SignalledError
    from dask_runner.launch.launch import Launch
    from dask_runner.meeting.notice import Notices


class Headquarters:
    """The hub of a launch, from its opening to the cluster's end.

    Parameters
    ----------
    launch : Launch
        Rank 0's.
    notices : Notices
        Where ranks that cannot come leave notices, and those that come too late look.
    """

    def __init__(self, launch: Launch, notices: Notices) -> None:
        self._launch = launch
        self._notices = notices
        self._has_read = False
        settings = launch.settings
        report = Reporter(quiet=settings.quiet)
        report.start(launch.world, settings.layout)
        self._cluster = Cluster(
            launch.world,
            launch.plan,
            settings,
            report,
            launch.scheduler_address,
            end_time(launch.environ),
            notices=notices.possible,
        )
        self._hub = Hub(self._cluster, report, settings.silence)

    async def open(self, interface: str | None) -> Record:
        """Listen at the address of an interface; return what the others must know.

        Raises
        ------
        ConfigError
            If the interface has no address.
        """
        world = self._launch.world
        host = own_address(world, interface)
        port = await self._hub.open(host)
        tls = self._launch.settings.security == "tls"
        self._end = asyncio.create_task(self._cluster.finished(), name="end")
        return Record(
            world.key,
            secrets.token_hex(16),
            socket.gethostname(),
            host,
            port,
            self._hub.secret.hex(),
            *(security.material() if tls else ("", "")),
        )

    async def read(self) -> None:
        """Look for notices of ranks that cannot come, for as long as some may."""
        pause = FIRST_POLL
        while self._notices.possible and self._cluster.may_come:
            if (notice := self._notices.find()) is not None:
                self._has_read = True
                self._cluster.read(notice, self._notices.signed())
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LAST_POLL)

    def fail(self, error: RunnerError) -> None:
        """End the cluster with an error."""
        self._cluster.fail(error)

    def signalled(self, error: SignalledError, rank: int) -> None:
        """End the cluster, by a signal to a rank before rank 0 was connected."""
        self._cluster.signalled(error, {0, rank})

    @property
    def arrived(self) -> frozenset[int]:
        """The ranks that know how it has ended."""
        return self._cluster.arrived

    @property
    def cause(self) -> RunnerError | None:
        """Why it has ended, where notices lie or ranks may come that do not know it."""
        due = self._has_read or self._cluster.may_come
        return self._cluster.cause if due else None

    async def ended(self) -> int:
        """Wait for the cluster's end; return the job's exit status."""
        return await self._end

    async def shut(self) -> None:
        """Close the hub, and every connection with it."""
        self._end.cancel()
        await self._hub.shut()
