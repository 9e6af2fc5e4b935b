"""Rank 0's server, to which all nodes stay connected.

The messages of a node that proves to hold the record's key go to the
:class:`~dask_runner.hub.cluster.Cluster`, which decides. All others are refused.
"""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING, Self

from dask_runner.errors import RunnerError
from dask_runner.hub import messages as m
from dask_runner.hub import requeue
from dask_runner.hub.cluster import Cluster
from dask_runner.hub.listener import Door
from dask_runner.hub.naming import Naming, be_named
from dask_runner.hub.pings import between_pings
from dask_runner.hub.report import Reporter
from dask_runner.hub.requests import AskJoin, Request
from dask_runner.launch import agreed
from dask_runner.launch.walltime import end_time
from dask_runner.meeting import tls
from dask_runner.meeting.addresses import own_address
from dask_runner.meeting.base import FIRST_POLL_SECONDS, LAST_POLL_SECONDS
from dask_runner.meeting.record import Record
from dask_runner.wire import mutual_tls
from dask_runner.wire.message import ProtocolError
from dask_runner.wire.threads import in_thread

if TYPE_CHECKING:
    from dask_runner.hub.members import Node
    from dask_runner.hub.requeue import Requeue
    from dask_runner.launch.launch import Launch
    from dask_runner.meeting.notice import Notices
    from dask_runner.wire.channel import Channel

#: Seconds until an admitted node has to send its hello.
HELLO_SECONDS = 10.0


class Hub:
    """The server, from its opening to the cluster's end.

    Parameters
    ----------
    cluster : Cluster
        Receives the nodes' messages.
    report : Reporter
        Prints for the user.
    silence : float
        Seconds without a sign of life after which a node counts as lost.
    again : Requeue, optional
        How the job is queued again before its time limit.

    Attributes
    ----------
    cluster : Cluster
    certificate, key : str
        The cluster's, in PEM.
    """

    def __init__(
        self,
        cluster: Cluster,
        report: Reporter,
        silence: float,
        again: Requeue | None = None,
    ) -> None:
        self.certificate, self.key = tls.material()
        self.cluster = cluster
        self._report = report
        self._silence = silence
        self._again = again
        own = mutual_tls.context(self.certificate, self.key, server=True)
        self._door = Door(own, self._serve, self._refuse, cluster.size)
        self._stranger_seen = False
        self._silent: set[Node] = set()

    @classmethod
    def of(cls, launch: Launch, notices: Notices) -> Self:
        """Return the hub of a launch.

        Parameters
        ----------
        launch : Launch
            Rank 0's launch.
        notices : Notices
            The place where ranks that cannot join leave notices.
        """
        settings = launch.settings
        report = Reporter(quiet=settings.quiet)
        program = launch.program
        report.shares_terminal = program is not None and program.kind == "command"
        report.start(launch.world, settings.layout, settings.spare)
        cluster = Cluster(
            launch.world,
            launch.plan,
            settings,
            report,
            launch.scheduler_address,
            end_time(launch.environ),
            notices=notices.possible,
            told=agreed.in_rank_0(launch),
        )
        return cls(cluster, report, settings.silence, requeue.choose(launch))

    async def open(self, launch: Launch, interface: str | None, nonce: str) -> Record:
        """Listen at the address of an interface; return the record, with the nonce.

        Raises
        ------
        ConfigError
            If the interface has no address, the job cannot be queued again, or the
            report cannot be written.
        AssemblyError
            If no port of ``--ports`` is free.
        """
        if self._again is not None:
            await in_thread(self._again.check)
        await in_thread(self.cluster.telling.check)
        host = own_address(launch.world, interface, closed=_is_closed(launch))
        port = await self.listen(host, launch.settings.ports)
        self._end = asyncio.create_task(self.cluster.finished(), name="end")
        self._telling = asyncio.create_task(self.cluster.telling.keep())
        record = Record(
            launch.world.key,
            nonce,
            socket.gethostname(),
            host,
            port,
            self.certificate,
            self.key,
            launch.settings.security == "tls",
        )
        self._naming = Naming(
            launch.world, launch.settings.name, launch.environ, record
        )
        return record

    async def be_named(self) -> None:
        """Keep the cluster's record in the cluster directory, until it is cancelled."""
        await be_named(self._naming, self.cluster.shared, self.cluster.fail)

    def withdraw(self) -> None:
        """Remove the cluster's record from the cluster directory."""
        self._naming.withdraw()

    async def listen(self, host: str, among: str | None = None) -> int:
        """Listen on *host*; return the port, which is *among* those of ``--ports``."""
        port = await self._door.open(host, among=among)
        self._listening = asyncio.create_task(self._listen_for_silence())
        return port

    async def read(self, notices: Notices) -> None:
        """Read notices of ranks that cannot join, until all ranks have arrived."""
        pause = FIRST_POLL_SECONDS
        while notices.possible and self.cluster.may_come:
            if (notice := notices.find()) is not None:
                self.cluster.read(notice, notices.signed())
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LAST_POLL_SECONDS)

    async def ended(self) -> int:
        """Wait for the cluster's end; return the job's exit status."""
        return await self._end

    async def requeue(self) -> None:
        """Have the job queued again, if the cluster has ended for that.

        This is the very last step: Slurm kills what is left of the job.
        """
        if self._again is None or not self.cluster.queues_again:
            return
        self._report.note(self._again.words)
        try:
            await in_thread(self._again.ask)
        except RunnerError as error:
            self._report.warn(f"the job is not queued again: {error.saw}")

    async def close(self) -> None:
        """End the cluster, and close every connection with it."""
        self._end.cancel()
        self._telling.cancel()
        await self.cluster.logs.over()
        await self.shut()

    async def shut(self) -> None:
        """Close the server and every connection."""
        self._listening.cancel()
        for node in self.cluster.nodes:
            node.channel.close()
        await self._door.shut()

    # --- one node -----------------------------------------------------------

    def _refuse(self, address: str, why: str) -> None:
        if not self._stranger_seen:
            self._stranger_seen = True
            self._report.warn(f"refused a connection from {address}: {why}")

    async def _serve(self, channel: Channel, address: str) -> None:
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                first = await channel.receive()
        except TimeoutError:
            self._refuse(address, "no Hello came")
            return
        except ProtocolError as error:
            self._refuse(address, str(error))
            return
        if isinstance(first, AskJoin):
            if (node := await self.cluster.answers.admit(channel, first)) is not None:
                await self._stay_with(channel, node)
        elif isinstance(first, Request):
            await self.cluster.answers.answer(channel, first)
        elif isinstance(first, m.NodeHello):
            await self._stay_with(channel, self.cluster.connect(first, channel))
        else:
            self._refuse(address, f"{first} where Hello was due")

    async def _stay_with(self, channel: Channel, node: Node) -> None:
        why = "no connection any more"
        try:
            while (message := await channel.receive()) is not None:
                self.cluster.hear(node, message)
        except ProtocolError as error:
            why = f"it sent {error}"
        channel.close()
        if node in self._silent:
            why = f"no sign of life for {self._silence:g} s"
        self.cluster.gone(node, why)

    async def _listen_for_silence(self) -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(between_pings(self._silence))
            now = time.monotonic()
            for node in self.cluster.nodes:
                node.channel.send(m.Ping())
                if now - began > self._silence / 2:
                    # This process was stopped itself (scontrol suspend, a virtual
                    # machine that moves), and has not read their messages yet.
                    node.heard = now
                elif node.heard < now - self._silence:
                    self._silent.add(node)
                    node.channel.abort()


def _is_closed(launch: Launch) -> bool:
    """Return whether no process of another node will attach to the cluster.

    The ranks of a batch system run on its nodes, and the user is elsewhere. Others may
    be on a laptop, whose addresses come and go; and without TLS an address that others
    reach is an open door, which only ``serve`` was asked for.
    """
    if launch.world.launcher == "local":
        return True
    if launch.program is None and launch.plan.client is None:
        return False
    return launch.settings.security == "none" or launch.world.meeting != "file"
