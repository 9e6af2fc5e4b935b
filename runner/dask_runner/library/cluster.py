"""``dask_runner.Cluster``: a running cluster of the user's, as an object of Dask's.

The module is long because it is one class, with the methods that a cluster of Dask's
has; half of it is what ``help()`` shows.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import re
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import dask
import distributed
import distributed.deploy
from dask.utils import parse_timedelta
from distributed.core import Status, rpc

from dask_runner.attach import clusters
from dask_runner.attach.attachment import Attachment
from dask_runner.errors import RunnerError, UnavailableError
from dask_runner.hub.report import say
from dask_runner.hub.requests import AskScale, AskState, State, WillScale
from dask_runner.library import quiet_dask, scaling
from dask_runner.library.join_jobs import JoinJobs
from dask_runner.programs.dask_tls import as_security
from dask_runner.programs.sitehook.for_client import (
    Link,
    in_jupyter,
    other_versions,
)

if TYPE_CHECKING:
    import builtins
    from collections.abc import Generator, Mapping


#: Seconds for a cluster to end, when it is told to.
END_SECONDS = 60.0


class Cluster(distributed.deploy.Cluster):  # type: ignore[misc]  # Dask has no types
    """A running cluster of yours: ``Client(Cluster.from_name("lab"))``.

    It is found by the file that each cluster keeps in ``~/.dask-runner``. Closing it
    leaves the cluster as it is; :meth:`shutdown` ends the cluster.

    Parameters
    ----------
    name : str, optional
        By default the cluster whose program this process is, or else the only one that
        you have.
    shutdown_on_close : bool
        Whether the cluster ends when this is closed, or when this process ends.
    asynchronous : bool
        For ``async with``, or ``await``.
    loop : IOLoop, optional
        Another event loop than Dask's own.

    Attributes
    ----------
    security : distributed.Security or None
        The cluster's keys; None if its connections are open.
    shutdown_on_close : bool

    Raises
    ------
    ConfigError
        If you have several clusters and give no name, or if a file of one cannot be
        believed.
    UnavailableError
        If there is no such cluster, or it does not answer.
    """

    def __init__(
        self,
        name: str | None = None,
        shutdown_on_close: bool = False,
        asynchronous: bool = False,
        loop: Any = None,
    ) -> None:
        self.status = Status.closed  # until there is something to close
        self.shutdown_on_close = shutdown_on_close
        self._attachment = Attachment.to(name, os.environ)
        self._state: State | None = None
        self._attending: asyncio.Task[None] | None = None
        self._job_options: Mapping[str, Any] = {}
        self._jobs: JoinJobs | None = None
        self._changing_jobs = asyncio.Lock()
        self._has_ended = False
        named = self._attachment.named
        differ = other_versions(named.name, named.python, named.distributed)
        if differ and not self._attachment.own(os.environ):  # which has been told
            say(differ)
        # The same function is added once, however many clusters there are.
        logging.getLogger("distributed.batched").addFilter(
            quiet_dask.tells_more_than_a_loss
        )
        self.security = as_security(*named.record.for_dask)
        super().__init__(asynchronous=asynchronous, loop=loop, name=named.name)
        _OPEN.add(self)
        if not self.asynchronous:
            self._loop_runner.start()
            try:
                self.sync(self._start)
            except BaseException:
                self._loop_runner.stop()
                raise

    @classmethod
    def from_name(
        cls,
        name: str | None = None,
        shutdown_on_close: bool = False,
        asynchronous: bool = False,
        loop: Any = None,
    ) -> Self:
        """Attach to a running cluster, with the parameters of the class."""
        return cls(name, shutdown_on_close, asynchronous, loop)

    @classmethod
    def list(cls) -> builtins.list[str]:
        """Return the names of your clusters that answer.

        ``dask-runner list`` shows more of each, and those that do not answer.
        """
        # In a thread, because a notebook has an event loop in this one.
        with ThreadPoolExecutor(1) as aside:
            found = aside.submit(asyncio.run, clusters.look(os.environ)).result()
        return [one.entry.name for one in found if one.state is not None]

    # --- life -----------------------------------------------------------------

    def __await__(self) -> Generator[Any, Any, Self]:
        return self._started().__await__()

    async def _started(self) -> Self:
        if self.status == Status.created:
            await self._start()
        return self

    async def _start(self) -> None:
        if self.status != Status.created:
            return
        self.status = Status.starting
        try:
            await self._connect()
        except BaseException:
            if self.scheduler_comm is not None:
                await self.scheduler_comm.close_rpc()
            self.status = Status.closed
            raise

    async def _connect(self) -> None:
        seconds = parse_timedelta(dask.config.get("distributed.comm.timeouts.connect"))
        self._state = state = await self._attachment.started(seconds)
        arguments = self.security and self.security.get_connection_args("client")
        self.scheduler_comm = rpc(state.address, connection_args=arguments)
        try:
            await super()._start()
        except OSError as error:
            raise UnavailableError(
                f"the scheduler of the cluster {self.name!r} does not answer at "
                f"{state.address}: {error}",
                "its scheduler, reachable from here as its hub is",
                "see whether a firewall is between here and there",
            ) from None
        there = asyncio.Event()
        self._attending = asyncio.create_task(self._attend(there))
        await there.wait()

    async def _attend(self, there: asyncio.Event) -> None:
        """Close this, and the clients that use it, when the cluster ends."""
        try:
            status, why = await self._attachment.ended(there)
        finally:
            there.set()
        self._attending = None
        if status:
            say(f"the cluster {self.name!r} has ended with status {status}")
        else:
            lost = f"is lost: {why}" if status is None else "has ended"
            say(f"the cluster {self.name!r} {lost}")
        self.shutdown_on_close = False
        self._has_ended = True
        await self._close()

    async def _close(self) -> None:
        if self.status in (Status.closing, Status.closed):
            return
        # Clients that lose the scheduler now close, and do not try to connect again.
        self.status = Status.closing
        attending, self._attending = self._attending, None
        if attending is not None:
            attending.cancel()
            with suppress(asyncio.CancelledError):
                await attending
        try:
            if self.shutdown_on_close:
                await self._attachment.stop(END_SECONDS)
                self._has_ended = True
            if self._has_ended and self._jobs is not None:
                await self._jobs.cancel_waiting()
        finally:
            _OPEN.discard(self)
            await super()._close()
            await self._give_up_clients()

    async def _give_up_clients(self) -> None:
        """Close clients that have lost the scheduler before this knew of the end."""
        with quiet_dask.without_cancellations():
            for client in tuple(distributed.Client._instances):  # noqa: SLF001  no other way
                if client.cluster is self and client.status == "connecting":
                    # It would try for half a minute.
                    await client._close(fast=True)  # noqa: SLF001  as Dask's own cluster does

    def __exit__(self, *how: object) -> None:
        super().__exit__(*how)
        self._loop_runner.stop()

    def shutdown(self) -> Any:
        """End the cluster, and wait until all its ranks have left."""
        self.shutdown_on_close = True
        return self.close()

    # --- the number of workers ------------------------------------------------

    def scale(
        self,
        n: int | None = None,
        memory: str | float | None = None,
        cores: int | None = None,
        *,
        jobs: int | None = None,
        job: Mapping[str, Any] | None = None,
    ) -> Any:
        """Begin to retire workers, or to start some again, until there are so many.

        With *jobs* or *job*, jobs are submitted to the batch system whose ranks join
        the cluster, and are seen off, the newest first: those that wait are cancelled,
        then those leave whose workers run nothing.

        Parameters
        ----------
        n : int, optional
            The number of workers.
        memory : str or int, optional
            What all of them have at least, such as "100 GiB".
        cores : int, optional
            The threads that all of them have at least.
        jobs : int, optional
            The number of jobs that join the cluster, those included that were submitted
            by hand. By default, with *job*, as many as the workers need.
        job : mapping, optional
            What a job is like: options of ``dask-runner job`` such as ``nodes`` and
            ``time``, and variables of its templates; ``system``, such as "slurm";
            ``options``, a list of those of ``dask-runner join``; ``no_image``. What
            is not given comes from ``runner.job`` in Dask's configuration.

        Raises
        ------
        ConfigError
            If the nodes of the cluster do not offer so many, or if so few cannot be; if
            jobs cannot be submitted from here.
        UsageError
            If an option of the job is wrong.
        SubmitError
            If a command of the batch system fails.
        """
        wanted = None
        if jobs is None or not n is memory is cores is None:
            given = self.scheduler_info["workers"].values()
            wanted = scaling.workers(n, memory, cores, list(given))
        number = None if jobs is None else scaling.job_count(jobs)
        grows = jobs is not None or job is not None
        join_jobs = self._join_jobs(job) if grows else None
        if self.asynchronous:
            # It begins also where nobody awaits it, as with Dask's own clusters.
            return asyncio.ensure_future(self._scale_both(wanted, number, join_jobs))
        return self.sync(self._scale_both, wanted, number, join_jobs)

    async def _scale_both(
        self, workers: int | None, number: int | None, jobs: JoinJobs | None
    ) -> None:
        if jobs is not None:
            if number is None:
                there = jobs.standing(await self._now())
                number = there.needed(workers or 0, jobs.ranks)
            await self._have_jobs(jobs, number)
        if workers is not None:
            # Those of jobs come later, and are not counted before.
            await self._scale(workers, nearest=jobs is not None)

    def _join_jobs(self, job: Mapping[str, Any] | None) -> JoinJobs:
        self._job_options = self._job_options if job is None else job
        self._jobs = JoinJobs(self._attachment, self._job_options, os.environ)
        return self._jobs

    async def _have_jobs(
        self, jobs: JoinJobs, number: int, *, idle_only: bool = False
    ) -> None:
        idle = await self.scheduler_comm.workers_to_close(
            memory_ratio=0, attribute="name"
        )
        busy = {*map(str, self.observed)}.difference(map(str, idle))
        async with self._changing_jobs:
            await jobs.have(number, busy, idle_only=idle_only)

    async def _now(self) -> State:
        return await self._attachment.ask(AskState(), State)

    async def _scale(self, n: int, *, nearest: bool = False) -> None:
        await self._attachment.ask(AskScale(n, nearest), WillScale)

    def scale_down(self, workers: Any) -> None:
        """Do nothing: Dask's scheduler has retired them, and each node knows."""

    def adapt(
        self,
        Adaptive: type[distributed.deploy.Adaptive] = scaling.Adaptive,  # noqa: N803  Dask's
        *,
        minimum: int | None = None,
        maximum: float | None = None,
        minimum_jobs: int | None = None,
        maximum_jobs: int | None = None,
        job: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> distributed.deploy.Adaptive:
        """Have as many workers as the tasks need, as Dask's ``Adaptive`` finds.

        With *maximum_jobs*, or with *job* and *maximum*, jobs are submitted whose ranks
        join the cluster, and leave when their workers run nothing; see :meth:`scale`.

        Parameters
        ----------
        Adaptive : type
            A subclass of Dask's.
        minimum : int, optional
            By default, and at least, those with which the cluster goes on: 1.
        maximum : int, optional
            By default, and without jobs at most, those that the nodes of the cluster
            offer.
        minimum_jobs, maximum_jobs : int, optional
            The number of jobs beside the cluster's own; by default from 0.
        job : mapping, optional
            What a job is like, as for :meth:`scale`.
        **options
            As for ``distributed.deploy.Adaptive``.

        Raises
        ------
        ConfigError
            If the nodes of the cluster do not offer so many; if jobs cannot be
            submitted from here.
        UsageError
            If an option of the job is wrong.
        """
        if self._state is None or not self.asynchronous:
            self._state = self.sync(self._now)
        # Dask keeps the options of the call before.
        getattr(self, "_adaptive_options", {}).pop("job_bounds", None)
        grows = minimum_jobs is not None or maximum_jobs is not None or job is not None
        if grows:
            if not issubclass(Adaptive, scaling.Adaptive):
                raise TypeError(f"{Adaptive.__name__} cannot submit jobs")
            options["job_bounds"] = scaling.job_bounds(
                minimum_jobs, maximum_jobs, maximum, self._join_jobs(job)
            )
        bounds = scaling.bounds(minimum, maximum, self._state, grows=grows)
        return super().adapt(Adaptive, **options, **bounds)

    @property
    def plan(self) -> set[Any]:
        """The names of the workers that are to be there, for Dask's ``Adaptive``."""
        return set(self.observed)

    #: A worker that is asked for is there a moment later.
    requested = plan

    # --- what it tells --------------------------------------------------------

    @property
    def dashboard_link(self) -> str:
        """The dashboard's address, or the command that opens a way to it."""
        template = dask.config.get("distributed.dashboard.link")
        port = self.scheduler_info.get("services", {}).get("dashboard")
        if port or "{port}" not in template:  # a proxy has an address without a port
            return str(super().dashboard_link)
        if there := in_jupyter(self.name, os.environ):
            return there
        if self._attachment.own(os.environ) and isinstance(template, Link):
            return template.ours
        served = self._state is not None and self._state.dashboard
        return f"dask-runner dashboard {self.name}" if served else ""

    def _repr_html_(self, cluster_status: Any = None) -> str:
        def shown(link: re.Match[str]) -> str:
            if link[1].startswith(("http", "/")) and "None" not in link[1]:
                return link[0]
            # Dask makes a link of whatever there is, also of a port that is not open.
            return (
                f"<code>{self.dashboard_link}</code>" if link[1] != "None" else "none"
            )

        return _LINK.sub(shown, super()._repr_html_(cluster_status))


_LINK = re.compile(r'<a href="([^"]*)" target="_blank">\1</a>')

#: Those that are not closed.
_OPEN: weakref.WeakSet[Cluster] = weakref.WeakSet()


@atexit.register
def _close_at_exit() -> None:
    for cluster in tuple(_OPEN):
        if cluster.shutdown_on_close and not cluster.asynchronous:
            with suppress(RunnerError):
                cluster.close(timeout=END_SECONDS)
