"""The hub's answers to requests (:mod:`dask_runner.hub.requests`)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from dask_runner.errors import ConfigError, RunnerError, UnavailableError
from dask_runner.hub import messages as m
from dask_runner.hub import requests as r
from dask_runner.hub.dashboard import has_none
from dask_runner.hub.pings import OUTSIDE_PING_SECONDS
from dask_runner.wire.message import ProtocolError
from dask_runner.wire.splice import splice

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from dask_runner.hub.activity import Activity
    from dask_runner.hub.batch_jobs import BatchJobs
    from dask_runner.hub.joins import Joins
    from dask_runner.hub.logs import Logs
    from dask_runner.hub.members import Node
    from dask_runner.hub.scaling import Scaling
    from dask_runner.hub.shared_state import SharedState
    from dask_runner.wire.channel import Channel


class Answers:
    """Answers requests about one cluster.

    Parameters
    ----------
    shared : SharedState
        The cluster's state.
    activity : Activity
        What the scheduler says.
    scaling : Scaling
        Retires workers, and starts them again.
    joins : Joins
        Lets joins in, and sees them off.
    jobs : BatchJobs
        Those that were submitted, so that they join.
    logs : Logs
        Reads the logs of the ranks.
    ends_at : float or None
        When the job ends, in seconds since 1970.
    """

    def __init__(
        self,
        shared: SharedState,
        activity: Activity,
        scaling: Scaling,
        joins: Joins,
        jobs: BatchJobs,
        logs: Logs,
        ends_at: float | None,
    ) -> None:
        self._shared = shared
        self._scaling = scaling
        self._joins = joins
        self._jobs = jobs
        self._logs = logs
        self._activity = activity
        self._ends_at = ends_at

    async def answer(self, channel: Channel, request: r.Request) -> None:
        """Answer a request, to the end of its connection."""
        try:
            _compare_version(request)
            await self._table[type(request)](self, channel, request)
        except RunnerError as error:
            await _deny(channel, error)
        except ProtocolError:
            channel.close()  # what asks is no dask-runner, though it has the key

    async def admit(self, channel: Channel, request: r.AskJoin) -> Node | None:
        """Return the node that joins; None, with an answer, if it may not."""
        try:
            _compare_version(request)
            return self._joins.admit(request, channel)
        except RunnerError as error:
            await _deny(channel, error)
            return None

    async def _state(self, channel: Channel, request: r.Request) -> None:
        del request
        channel.send(await self._now())
        await channel.closed()

    async def _now(self) -> r.State:
        shared, heard = self._shared, await self._activity.now()
        members = [member for member in shared.roster.members if member.complete]
        scheduler = shared.assembly.scheduler
        limited = all(member.memory for member in members if member.workers)
        return r.State(
            ready=shared.assembly.ready,
            ending=shared.ending.status is not None,
            serves=shared.plan.client is None,
            ranks=shared.roster.own.size,
            workers=shared.roster.registered,
            nthreads=sum(member.share(member.nthreads) for member in members),
            memory=sum(one.share(one.memory) for one in members) if limited else 0,
            capacity=self._scaling.capacity,
            least=self._scaling.least,
            spare=shared.spares.nodes,
            age=shared.ending.seconds,
            ends_at=self._ends_at or 0.0,
            address=scheduler.address if scheduler else "",
            dashboard=bool(scheduler and scheduler.dashboard),
            clients=heard.clients,
            idle=heard.idle,
            joins=self._joins.states,
            jobs=self._jobs.states,
            packages=shared.packages.archive.path,
            packages_key=shared.packages.archive.key,
        )

    async def _tell_jobs(self, channel: Channel, request: r.TellJobs) -> None:
        self._jobs.tell(request)
        await self._state(channel, request)

    async def _scale(self, channel: Channel, request: r.AskScale) -> None:
        workers = self._scaling.ask(request.workers, nearest=request.nearest)
        channel.send(r.WillScale(workers))
        await channel.closed()

    async def _stop(self, channel: Channel, request: r.AskStop) -> None:
        if request.join:
            await self._stop_join(channel, request)
            return
        self._shared.ending.stop(request.by)
        channel.send(r.Stopping())
        # The end of the hub ends the connection, when all ranks have left.
        await _hung_up(channel)

    async def _stop_join(self, channel: Channel, request: r.AskStop) -> None:
        gone = asyncio.create_task(self._joins.stop(request.join, request.by).wait())
        leaving = asyncio.create_task(_hung_up(channel))
        channel.send(r.Stopping())
        try:
            await asyncio.wait({gone, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            leaving.cancel()
        await channel.closed()

    async def _attend(self, channel: Channel, request: r.Attend) -> None:
        del request
        channel.send(await self._now())
        ending = asyncio.create_task(self._shared.ending.decided())
        leaving = asyncio.create_task(_hung_up(channel))
        either = {ending, leaving}
        try:
            while not (ending.done() or leaving.done()):
                channel.send(m.Ping())
                await asyncio.wait(
                    either,
                    timeout=OUTSIDE_PING_SECONDS,
                    return_when=asyncio.FIRST_COMPLETED,
                )
            if ending.done():
                channel.send(r.WillEnd(ending.result()))
                await leaving
        finally:
            ending.cancel()
            leaving.cancel()

    async def _show_logs(self, channel: Channel, request: r.AskLogs) -> None:
        showing = self._logs.start(channel, request)
        leaving = asyncio.create_task(_hung_up(channel))
        try:
            await asyncio.wait({showing, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if showing.done():
                showing.result()
                await channel.closed()
        finally:
            showing.cancel()
            leaving.cancel()

    async def _dashboard(self, channel: Channel, request: r.AskDashboard) -> None:
        del request
        scheduler = self._shared.assembly.scheduler
        if scheduler is None:
            raise _starting()
        if scheduler.dashboard.startswith("https:"):
            raise ConfigError(
                f"this cluster's dashboard has a certificate of its own, and is at "
                f"{scheduler.dashboard}",
                "one without (distributed.scheduler.dashboard.tls)",
                "use that address",
            )
        if not scheduler.dashboard:
            raise has_none("this cluster")
        if not self._shared.assembly.ready:
            # Its pages would keep the browser waiting until then.
            raise _starting()
        try:
            reader, writer = await _to(scheduler.dashboard)
        except OSError as error:
            raise UnavailableError(
                f"the dashboard does not answer: {error.strerror or error}",
                "a scheduler that runs",
                "look at it again in a moment; see the cluster with dask-runner list",
            ) from error
        channel.send(r.Connected())
        await splice(channel, reader, writer)

    _table: Mapping[
        type[r.Request], Callable[[Answers, Channel, Any], Coroutine[Any, Any, None]]
    ] = {
        r.AskState: _state,
        r.AskScale: _scale,
        r.TellJobs: _tell_jobs,
        r.AskStop: _stop,
        r.Attend: _attend,
        r.AskLogs: _show_logs,
        r.AskDashboard: _dashboard,
    }


def _starting() -> UnavailableError:
    return UnavailableError(
        "the cluster is starting",
        "its workers",
        "look at it again in a moment; see the cluster with dask-runner list",
    )


def _compare_version(request: r.Request) -> None:
    if request.version != r.VERSION:
        raise ConfigError(
            f"a request of version {request.version} (this cluster's is {r.VERSION})",
            "the dask-runner of the cluster's image",
            "run the same command with that image",
        )


async def _deny(channel: Channel, error: RunnerError) -> None:
    channel.send(r.Denied(error.saw, error.needed, error.do, error.status))
    await channel.closed()


async def _hung_up(channel: Channel) -> None:
    while await channel.receive() is not None:
        """There is nothing more to ask."""


async def _to(dashboard: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the scheduler's HTTP server, on this node."""
    if dashboard.startswith("/"):
        return await asyncio.open_unix_connection(dashboard)
    host, _, port = dashboard.partition("://")[2].rpartition(":")
    return await asyncio.open_connection(host.strip("[]"), int(port))
