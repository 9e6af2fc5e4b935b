"""The workers of one rank and their nannies, while the rank is there.

The rank gets ``WorkersUp`` or ``Failed``. Its workers end when it says ``Close`` or its
connection does.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import dask.config
from distributed import Nanny, Worker
from distributed.comm import CommClosedError
from distributed.utils import import_term
from distributed.worker_memory import parse_memory_limit

from dask_runner.errors import ConfigError, LostError, RunnerError
from dask_runner.hub import messages as m
from dask_runner.hub.agents import WORD
from dask_runner.launch.options import BY_KEY
from dask_runner.node.agent_socket import Place
from dask_runner.node.causes import in_words, root
from dask_runner.programs import lifeline, user_modules
from dask_runner.programs.listening import WithoutPort
from dask_runner.programs.watched import FAST, WatchedNanny, pause
from dask_runner.programs.worker import Placed
from dask_runner.resources import open_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from distributed.process import AsyncProcess

    from dask_runner.hub.channel import Channel

logger = logging.getLogger("distributed")

#: How often a worker that is killed while it starts is started again.
AGAIN = 2

#: What each nanny reads when it is made, and its worker does not: all of a node are in
#: this process, and would sample it a hundred times a second, and note its load and
#: the pace of its event loop, each for itself. Nobody can ask a nanny for that.
SELDOM = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "200ms",
    "distributed.admin.system-monitor.interval": "5s",
}

#: What may keep a worker from starting, beside the system.
OPTIONS = "--worker-class, --preload, --resources and worker_options"

#: Seconds for a worker to close before its nanny kills it: one that has just lost
#: its scheduler tries for longer, and this process would be killed with it, in
#: the middle of its tidying up.
CLOSE = 2.0
#: Seconds beyond that for a nanny to be done.
LATEST = 1.0
#: Seconds for a worker that is killed to be gone.
KILLED = 0.5


def kill(pid: int) -> None:
    """Kill a process, unless it is gone."""
    with suppress(ProcessLookupError):  # gone meanwhile
        os.kill(pid, signal.SIGKILL)


class Workers:
    """The workers of one rank, under their nannies.

    Parameters
    ----------
    work : mapping
        What :func:`dask_runner.node.instructions.work` made.
    channel : Channel
        To the rank.
    inherited : frozenset of str
        The names of the variables that forks of this process have of its own rank.
    """

    def __init__(
        self, work: Mapping[str, Any], channel: Channel, inherited: frozenset[str]
    ) -> None:
        self._work = work
        self._inherited = inherited
        self._channel = channel
        self._servers: list[Any] = []
        self._keeping: set[asyncio.Task[None]] = set()

    @property
    def nannies(self) -> list[WatchedNanny]:
        """Our nannies; workers without one, and a user's own, are not among them."""
        return [one for one in self._servers if isinstance(one, WatchedNanny)]

    async def live(self) -> bool:
        """Start them, say so, and close them when the rank has no use for them.

        Returns
        -------
        bool
            Whether the rank said so; otherwise it is gone.
        """
        channel = self._channel
        end = asyncio.ensure_future(_end(channel))
        start = asyncio.ensure_future(self._start())
        try:
            await asyncio.wait({end, start}, return_when=asyncio.FIRST_COMPLETED)
            if start.done():
                if _lost_the_scheduler(start.exception()):
                    # Whoever knows why it is gone says so meanwhile.
                    await asyncio.wait({end}, timeout=WORD)
                channel.send(self._outcome(start))
            return await end
        finally:
            start.cancel()
            await self._close()

    async def _close(self) -> None:
        for task in self._keeping:
            task.cancel()
        # As a nanny closes, it forgets its worker, ended or not.
        started = list(filter(None, (nanny.worker for nanny in self.nannies)))
        # A scheduler that is gone would be called for half a minute.
        with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
            ends = (
                one.close(timeout=CLOSE, reason="dask-runner: the cluster ends")
                for server in self._servers
                for one in _members(server)
            )
            try:
                async with asyncio.timeout(CLOSE + LATEST):
                    problems = await asyncio.gather(*ends, return_exceptions=True)
            except TimeoutError as error:
                problems = [error]
        for problem in filter(None, problems):
            logger.warning("at the end: %r", problem)
        # One that has not started may not know how to close; its end is ours. It would
        # write into a directory that is about to be removed.
        await asyncio.gather(*map(_end_worker, started), return_exceptions=True)

    async def _start(self) -> None:
        work = self._work
        alone = user_modules.SERVER if work["nanny"] else user_modules.WORKER
        user_modules.look_in(work["modules"], alone)
        kind = import_term(work["worker_class"])
        if work["mpi_ranks"]:
            from dask_runner.mpi import world  # noqa: PLC0415  few need it

            # In the main thread, which MPI wants to see at its end again; there is
            # nothing to be done meanwhile.
            world.begin(work["mpi_ranks"])
        started = [work["fleet"]] if work["fleet"] else work["workers"]
        await asyncio.gather(
            *(
                self._up(
                    kind,
                    lifeline.secured(
                        {**work["common"], **one, **work["options"]}, work["material"]
                    ),
                )
                for one in started
            )
        )

    async def _up(self, kind: Any, options: dict[str, Any]) -> None:
        """Start one; again, if it is killed meanwhile. Keep it from then on."""
        for tries in range(1, AGAIN + 2):
            server = self._server(kind, dict(options))
            self._servers.append(server)
            try:
                await server
            except Exception as error:
                # Raised again, unless the reason is that somebody killed it: Dask
                # has no exception of its own for that.
                if not isinstance(server, WatchedNanny):
                    raise
                if not server.killed or tries > AGAIN:
                    if reason := _reason(server, tries):
                        raise reason from error
                    raise
                how = str(server.ended or "could not be started")
                self._channel.send(m.WorkerDied(str(server.name), how))
                self._servers.remove(server)
            else:
                if isinstance(server, WatchedNanny):
                    self._keep(partial(self._server, kind), options, server)
                return

    def _keep(self, *what: Any) -> None:
        task = asyncio.create_task(self._start_again_and_again(*what))
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)

    async def _start_again_and_again(
        self, make: Callable[..., Any], options: dict[str, Any], nanny: WatchedNanny
    ) -> None:
        """Put another nanny in the place of one that could not start its worker."""
        while True:
            await nanny.finished()
            name = str(nanny.name)
            if nanny.lost is None:
                self._channel.send(m.WorkerLeft(name))
                return
            what = lifeline.problem_with(f"worker {name}", nanny.lost, OPTIONS)
            saw = what.saw.removeprefix(f"worker {name} ")
            self._channel.send(m.WorkerDown(name, saw, what.needed, what.do))
            self._servers.remove(nanny)
            deaths = max(nanny.deaths, FAST) + 1
            await asyncio.sleep(pause(deaths))
            nanny = make(dict(options), deaths=deaths)
            self._servers.append(nanny)
            try:
                await nanny
            except Exception as error:  # noqa: BLE001  whatever it is, again
                logger.warning("worker %s: %r", name, error)
                nanny.lost = _reason(nanny) or nanny.lost or error

    def _server(self, kind: Any, options: dict[str, Any], deaths: int = 0) -> Any:
        work = self._work
        variables = {**work["environ"], **options.pop("env", {})}
        bound = options.pop("cpus", ())
        if not work["nanny"]:
            os.environ.update(variables)
            open_files.give_back()
            return self._without_ports(kind, work["scheduler"], **options)
        if isinstance(kind, type) and issubclass(kind, Nanny):
            options["env"] = variables
            return self._without_ports(kind, work["scheduler"], **options)
        place = Place(**work["place"])
        kind = Placed(
            kind if self._ports else WithoutPort(kind),
            tuple(bound or place.cpus),
            place.directory,
            work["log"],
            user_modules.for_workers(work["modules"]),
            _in_place_of(self._inherited - variables.keys()),
            open_files.given(),
        )
        with dask.config.set(SELDOM):
            return WatchedNanny(
                work["scheduler"],
                worker_class=kind,
                env=variables,
                tell=self._channel.send,
                deaths=deaths,
                **options,
            )

    @property
    def _ports(self) -> bool:
        """Whether the user wants HTTP servers of the workers, on ports."""
        return self._work["options"].get("dashboard_address") is not None

    def _without_ports(self, kind: Any, *args: Any, **options: Any) -> Any:
        """Make a worker, a nanny or a fleet of them of the user's class."""
        if self._ports:
            return kind(*args, **options)
        if isinstance(kind, type) and issubclass(kind, Worker):
            return WithoutPort(kind)(*args, **options)
        server = kind(*args, **options)
        for nanny in _members(server):
            nanny.Worker = WithoutPort(nanny.Worker)
        return server

    def _outcome(self, start: asyncio.Future[None]) -> m.Message:
        work = self._work
        error = start.exception()
        if error is None:
            workers = [{**worker, **work["options"]} for worker in work["workers"]]
            limits = [
                parse_memory_limit(one["memory_limit"], one["nthreads"], logger=logger)
                for one in workers
            ]
            return m.WorkersUp(
                [str(worker["name"]) for worker in workers],
                sum(worker["nthreads"] for worker in workers),
                sum(limit or 0 for limit in limits) if all(limits) else 0,
            )
        what = f"workers of the class {work['worker_class']}"
        if _lost_the_scheduler(error):
            return lifeline.failed(
                LostError(
                    f"{what} did not start: {in_words(root(error))}",
                    "a scheduler to which they can connect",
                    "look above, and in the logs of the node, for what ended it",
                )
            )
        return lifeline.did_not_start(what, error, OPTIONS)


def _lost_the_scheduler(error: BaseException | None) -> bool:
    """Say whether workers did not start because the scheduler went meanwhile."""
    return error is not None and isinstance(
        root(error), (ConnectionError, CommClosedError)
    )


def _reason(nanny: WatchedNanny, tries: int = 1) -> RunnerError | None:
    """Say how a worker ended that has not begun; None if there is an error to say."""
    if nanny.lost is not None or nanny.ended is None:
        return None
    times = f", each of the {tries} times" if tries > 1 else ""
    words = "" if nanny.killed else lifeline.last_words()
    saw = f"worker {nanny.name} {nanny.ended} while it started{times}{words}"
    if nanny.killed:
        return LostError(
            saw,
            "a worker that lives",
            "look for what kills it: a --preload, a limit of the node, another program",
        )
    return ConfigError(
        saw, "a worker that starts with the options given", f"check {OPTIONS}"
    )


def own_class(work: Mapping[str, Any]) -> bool:
    """Say whether the workers or nannies are of a class of the user's."""
    return bool(work["worker_class"] != BY_KEY["worker_class"].default)


def _in_place_of(variables: Iterable[str]) -> dict[str, str | None]:
    """Return what a worker has in place of variables that are another rank's.

    Dask gives some of these names a value where the user does not.
    """
    given: dict[str, str | None] = dict.fromkeys(variables)
    for key in ("pre-spawn-environ", "environ"):
        dasks = dask.config.get(f"distributed.nanny.{key}").items()
        given |= {k: str(v) for k, v in dasks if k in given and v is not None}
    return given


async def _end_worker(process: AsyncProcess) -> None:
    """Kill it, once it has been started, unless it has ended."""
    with suppress(TimeoutError):
        async with asyncio.timeout(KILLED):
            await process.kill()
            await process.join()


def _members(server: Any) -> list[Any]:
    """Return a fleet's nannies, which can be told why they end; else the server."""
    return list(getattr(server, "nannies", [server]))


async def _end(channel: Channel) -> bool:
    while isinstance(message := await channel.receive(), m.Ping):
        pass
    return isinstance(message, m.Close)
