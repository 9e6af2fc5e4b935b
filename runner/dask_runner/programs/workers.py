"""The workers of one rank and their nannies, from their start to the rank's end.

The rank gets ``WorkersUp`` or ``Failed``. A worker that the scheduler has retired is
reported as ``WorkerLeft``, and started again at ``StartWorkers``. The workers end when
the rank sends ``Close``, or when its connection ends.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import signal
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import dask.config
from distributed import Nanny
from distributed.comm import CommClosedError
from distributed.utils import import_term

from dask_runner.errors import ConfigError, LostError, RunnerError
from dask_runner.hub import messages as m
from dask_runner.launch import ports
from dask_runner.node import messages as n
from dask_runner.node.system_errors import in_words, root
from dask_runner.programs import carried, failures, least_memory, log, user_modules
from dask_runner.programs.make_worker import MakeWorker, members
from dask_runner.programs.nanny import FAST_RESTARTS, WatchedNanny, pause

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from distributed.process import AsyncProcess

    from dask_runner.node.instructions import RunWorkers
    from dask_runner.programs.rank_line import RankLine
    from dask_runner.resources.worker_share import NamedWorker
    from dask_runner.wire.message import Message

logger = logging.getLogger("distributed")

#: How often a worker that is killed while it starts is started again.
RETRIES = 2

#: Options that may keep a worker from starting.
OPTIONS = "--worker-class, --preload, --resources and worker_options"

#: Seconds for the process that has lost the scheduler to say why it is lost.
REASON_SECONDS = 2.0

#: Seconds for a worker to close before its nanny kills it. A worker that has just lost
#: its scheduler would take longer, and this process would be killed before it has
#: removed its files.
CLOSE_SECONDS = 2.0
#: Further seconds for a nanny to close.
NANNY_SECONDS = 1.0
#: Seconds for a killed worker to end.
KILL_SECONDS = 0.5


def kill(pid: int) -> None:
    """Kill a process, if it has not ended."""
    with suppress(ProcessLookupError):  # it has ended
        os.kill(pid, signal.SIGKILL)


class Workers:
    """The workers of one rank, under their nannies.

    Parameters
    ----------
    work : RunWorkers
    line : RankLine
        The messages of the rank, and those to it.
    inherited : frozenset of str
        The names of the variables that forks inherit from the agent's own rank.
    """

    def __init__(
        self, work: RunWorkers, line: RankLine, inherited: frozenset[str]
    ) -> None:
        self._work = work
        self._line = line
        self._make = MakeWorker(work, inherited, line.send)
        self._servers: list[Any] = []
        self._keeping: set[asyncio.Task[None]] = set()

    @property
    def nannies(self) -> list[WatchedNanny]:
        """The nannies, without those of a class of the user's."""
        return [one for one in self._servers if isinstance(one, WatchedNanny)]

    async def live(self) -> bool:
        """Start the workers, report that, and close them when the rank ends.

        Returns
        -------
        bool
            Whether the rank has announced its end; if not, it is lost.
        """
        end = asyncio.ensure_future(self._hear())
        start = asyncio.ensure_future(self._start())
        try:
            await asyncio.wait({end, start}, return_when=asyncio.FIRST_COMPLETED)
            if start.done():
                if _lost_the_scheduler(start.exception()):
                    # The process that knows the reason reports it meanwhile.
                    await asyncio.wait({end}, timeout=REASON_SECONDS)
                self._line.send(self._outcome(start))
                self._tell_of_processes()
            return await end
        finally:
            start.cancel()
            await self._close()

    def _tell_of_processes(self) -> None:
        """Say which processes the workers are, when nobody waits for that any more."""
        each = [one for server in self._servers for one in members(server)]
        pids = {str(one.name): _pid(one) for one in each}
        names = [(self._make.name(worker), worker) for worker in self._work.workers]
        self._line.send(
            n.WorkersRun(
                [self._make.running(one, pids.get(name, 0)) for name, one in names]
            )
        )

    async def _hear(self) -> bool:
        """Start workers when the rank says so; return whether it announces its end."""
        known = m.Ping | m.StartWorkers
        while isinstance(message := await self._line.receive(), known):
            if isinstance(message, m.StartWorkers):
                for worker in self._work.workers:
                    if self._make.name(worker) in message.names:
                        self._beside(self._again(worker))
        return isinstance(message, m.Close)

    async def _again(self, worker: NamedWorker) -> None:
        """Start a worker that was retired, and report how that went."""
        name = self._make.name(worker)
        try:
            await self._up(import_term(self._work.worker_class), worker)
        except Exception as error:  # noqa: BLE001  any error is reported
            self._servers = [one for one in self._servers if str(one.name) != name]
            what = failures.problem_with(f"worker {name}", error, OPTIONS)
            self._line.send(m.WorkerNotUp(name, what.saw, what.needed, what.do))
        else:
            self._line.send(m.WorkerUp(name))
            self._tell_of_processes()

    async def _close(self) -> None:
        for task in self._keeping:
            task.cancel()
        # A nanny that closes forgets its worker, even if that has not ended.
        started = list(filter(None, (nanny.worker for nanny in self.nannies)))
        # Workers would try to connect to a lost scheduler for half a minute.
        with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
            ends = (
                one.close(timeout=CLOSE_SECONDS, reason="dask-runner: the cluster ends")
                for server in self._servers
                for one in members(server)
            )
            try:
                async with asyncio.timeout(CLOSE_SECONDS + NANNY_SECONDS):
                    problems = await asyncio.gather(*ends, return_exceptions=True)
            except TimeoutError as error:
                problems = [error]
        for problem in filter(None, problems):
            logger.warning("at the end: %r", problem)
        # A worker that has not started may ignore that, and would write into a
        # directory that is about to be removed.
        await asyncio.gather(*map(_end_worker, started), return_exceptions=True)

    async def _start(self) -> None:
        work = self._work
        alone = user_modules.SERVER if work.nanny else user_modules.WORKER
        user_modules.look_in(work.modules, alone)
        kind = import_term(work.worker_class)
        if not work.nanny and not work.fleet:
            # The workers run in this process.
            carried.carry(*self._make.prints(work.workers[0]))
        if work.mpi_ranks:
            from dask_runner.mpi import world  # noqa: PLC0415  few need it

            # MPI has to begin and end in the same thread, the main one. Nothing else
            # has to run while it begins.
            world.begin(os.environ, work.mpi_ranks)
        if work.nanny:
            least_memory.refuse_less(map(self._make.limit, work.workers))
        started = [work.fleet] if work.fleet else work.workers
        await asyncio.gather(*(self._up(kind, one) for one in started))

    async def _up(self, kind: Any, worker: NamedWorker) -> None:
        """Start a worker, again if it is killed meanwhile, and keep it running."""
        for tries in range(1, RETRIES + 2):
            server = self._make(kind, worker)
            self._servers.append(server)
            try:
                await server
            except Exception as error:
                # Dask has no exception of its own for a worker that was killed.
                if not isinstance(server, WatchedNanny):
                    raise
                if not server.killed or tries > RETRIES:
                    if reason := _reason(server, tries):
                        raise reason from error
                    raise
                how = str(server.ended or "could not be started")
                self._line.send(m.WorkerDied(str(server.name), how))
                self._servers.remove(server)
            else:
                if isinstance(server, WatchedNanny):
                    self._keep(partial(self._make, kind, worker), server)
                return

    def _keep(self, *what: Any) -> None:
        self._beside(self._start_again_and_again(*what))

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)

    async def _start_again_and_again(
        self, make: Callable[..., Any], nanny: WatchedNanny
    ) -> None:
        """Replace the nanny each time that it could not restart its worker."""
        while True:
            await nanny.finished()
            name = str(nanny.name)
            if nanny.lost is None:
                self._servers.remove(nanny)
                self._line.send(m.WorkerLeft(name))
                return
            what = failures.problem_with(f"worker {name}", nanny.lost, OPTIONS)
            saw = what.saw.removeprefix(f"worker {name} ")
            self._line.send(m.WorkerDown(name, saw, what.needed, what.do))
            self._servers.remove(nanny)
            deaths = max(nanny.deaths, FAST_RESTARTS) + 1
            await asyncio.sleep(pause(deaths))
            nanny = make(deaths=deaths)
            self._servers.append(nanny)
            try:
                await nanny
            except Exception as error:  # noqa: BLE001  any error leads to a retry
                logger.warning("worker %s: %r", name, error)
                nanny.lost = _reason(nanny) or nanny.lost or error

    def _without_port(self, error: BaseException) -> RunnerError | None:
        """Return the error of a worker that found no port of ``--ports``."""
        chosen = self._work.ports
        in_use = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        if chosen and (in_use or any(words in str(error) for words in NO_PORT)):
            return ports.none_free("a worker or its nanny", chosen)
        return None

    def _outcome(self, start: asyncio.Future[None]) -> Message:
        work = self._work
        error = start.exception()
        if error is None:
            workers = [self._make.keywords(worker) for worker in work.workers]
            limits = [self._make.limit(worker) for worker in work.workers]
            return m.WorkersUp(
                [str(worker["name"]) for worker in workers],
                sum(worker["nthreads"] for worker in workers),
                sum(limits) if all(limits) else 0,
                len(self.nannies) == len(work.workers),
            )
        what = f"workers of the class {work.worker_class}"
        if problem := self._without_port(root(error)):
            return failures.failed(problem)
        if _lost_the_scheduler(error):
            return failures.failed(
                LostError(
                    f"{what} did not start: {in_words(root(error))}",
                    "a scheduler to which they can connect",
                    "look above, and in the logs of the node, for what ended it",
                )
            )
        return failures.did_not_start(what, error, OPTIONS)


#: What Dask's workers and nannies say when no port of a range is free.
NO_PORT = ("Could not start Worker on host", "Could not start Nanny on host")


def _pid(server: Any) -> int:
    """Return the process of a worker, which may have a nanny."""
    if not isinstance(server, Nanny):
        return os.getpid()
    process = server.process and server.process.process
    return int((process and process.pid) or 0)


def _lost_the_scheduler(error: BaseException | None) -> bool:
    """Return whether workers did not start because the scheduler was lost."""
    return error is not None and isinstance(
        root(error), (ConnectionError, CommClosedError)
    )


def _reason(nanny: WatchedNanny, tries: int = 1) -> RunnerError | None:
    """Return the error of a worker that ended while it started; None without an end."""
    if nanny.lost is not None or nanny.ended is None:
        return None
    times = f", each of the {tries} times" if tries > 1 else ""
    words = "" if nanny.killed else log.last_words()
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


async def _end_worker(process: AsyncProcess) -> None:
    """Kill a worker, unless it has ended; wait until it has started, if need be."""
    with suppress(TimeoutError):
        async with asyncio.timeout(KILL_SECONDS):
            await process.kill()
            await process.join()
