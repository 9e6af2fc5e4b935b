"""The nannies of a node, in the agent: each rank's workers while the rank is there.

A rank sends ``Run`` with its workers when the scheduler is up and gets ``WorkersUp``,
``Failed``, or ``Declined`` if this agent cannot speak for it. Its workers end when it
says ``Close`` or its connection does; after ``Close`` it gets ``Bye``, and the agent
stays, to see whether the rank itself comes to its end, until it says ``Close`` again.
"""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import multiprocessing
import multiprocessing.forkserver
import os
import shutil
import signal
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.config
from distributed import Nanny
from distributed.utils import import_term

from dask_runner import messages as m
from dask_runner.channel import Channel
from dask_runner.deaths import Standing
from dask_runner.errors import RunnerError
from dask_runner.file_meeting import FileMeeting
from dask_runner.hub import between_pings
from dask_runner.messages import ProtocolError
from dask_runner.node import Place, of_this_user
from dask_runner.programs import lifeline
from dask_runner.programs.watched import WatchedNanny
from dask_runner.programs.worker import Placed
from dask_runner.rendezvous import Record

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

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

#: Seconds for a worker to close before its nanny kills it: one that has just lost
#: its scheduler tries for longer, and this process would be killed with it, in
#: the middle of its tidying up.
CLOSE = 2.0
#: Seconds beyond that for a nanny to be done.
LATEST = 1.0


async def stay(channel: Channel) -> bool:
    """Say that the work is over, and wait for the rank's own end.

    Returns
    -------
    bool
        Whether it says so; otherwise it is gone.
    """
    channel.send(m.Bye())
    return await channel.receive() is not None


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):  # gone meanwhile
        os.kill(pid, signal.SIGKILL)


class Agent:
    """All nannies of this process.

    Parameters
    ----------
    place : Place
        The place of the rank that started it.
    silence : float
        Seconds for which a worker, or the rank, may stand still.
    """

    def __init__(self, place: Place, silence: float) -> None:
        self._place = place
        self._silence = silence
        self._standing = Standing(silence)
        self._workers: set[Workers] = set()
        self._others: dict[asyncio.Task[None], Channel] = {}
        self._server: asyncio.Server | None = None
        self._found = asyncio.Event()

    async def listen(self, sock: socket.socket) -> None:
        """Let the other ranks of the node come."""
        self._server = await asyncio.start_unix_server(self._welcome, sock=sock)

    async def _welcome(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if not of_this_user(writer.get_extra_info("socket")):
            writer.close()
            return
        channel = Channel(reader, writer)
        task = asyncio.create_task(self._other(channel))
        self._others[task] = channel
        task.add_done_callback(self._others.pop)

    async def _other(self, channel: Channel) -> None:
        with closing(channel):
            try:
                work = await channel.receive()
            except ProtocolError:
                return
            if not isinstance(work, m.Run):
                return
            if why := self._why_not(work.spec):
                channel.send(m.Declined(why))
            else:
                await self._found.wait()
                if await self._look_after(work.spec, channel):
                    await stay(channel)
                # A rank that is gone cannot remove it, one that is there has no use
                # for it any more.
                private = work.spec["place"]["private"]
                await asyncio.to_thread(shutil.rmtree, private, ignore_errors=True)

    def _why_not(self, work: Mapping[str, Any]) -> str:
        if not work["nanny"]:
            return "workers without a nanny"
        return Place(**work["place"]).why_not(self._place)

    async def _look_after(self, work: Mapping[str, Any], channel: Channel) -> bool:
        """Return whether the rank said that it ends."""
        workers = Workers(work, channel)
        self._workers.add(workers)
        try:
            return await workers.live()
        finally:
            self._workers.discard(workers)

    async def watch(self) -> None:
        """End what was stopped (SIGSTOP) and is not continued; a nanny begins anew."""
        top = os.getppid()
        every = between_pings(self._silence)
        while True:
            await asyncio.sleep(every)
            watched = {
                nanny.worker_pid: nanny
                for workers in self._workers
                for nanny in workers.nannies
            }
            for pid in self._standing.too_long({top, *watched} - {0}, every):
                if pid in watched:
                    watched[pid].why = "it was stopped and not continued"
                _kill(pid)

    async def own(self, channel: Channel) -> None:
        """Look after the workers of this rank, until it ends; then end all."""
        message = await channel.receive()
        found = m.Found({})
        while isinstance(message, m.Found):
            found = message
            lifeline.configure(message.environ, [])
            _configure()
            self._found.set()
            message = await channel.receive()
        there = isinstance(message, m.Close)
        if isinstance(message, m.Run):
            there = await self._look_after(message.spec, channel)
        if not (there and await stay(channel)):
            # At once: where the rank was a container's first process, the image goes.
            await asyncio.to_thread(self._remove, found)
        if self._server is not None:
            self._server.close()
        # Not cancelled: one that is closing its workers must come to its end.
        for other in self._others.values():
            other.close()
        self._found.set()
        await asyncio.gather(*self._others, return_exceptions=True)
        # A worker has no ear for the SIGTERM that multiprocessing would give it.
        for process in multiprocessing.active_children():
            process.kill()
        # Python's own end waits for the resource tracker first, which waits for the
        # fork server, which waits for this process to close its pipe.
        server: Any = multiprocessing.forkserver._forkserver  # noqa: SLF001
        with suppress(FileNotFoundError):  # its socket was in what we have removed
            server._stop()  # noqa: SLF001
        await asyncio.to_thread(self._remove, m.Found({}))

    def _remove(self, found: m.Found) -> None:
        """Remove what a rank that was killed has left: the record, its directory."""
        if found.files:
            record = Record.load(found.record)
            meeting = FileMeeting(map(Path, found.files), record.key)
            meeting.adopt(record)
            meeting.withdraw()
        shutil.rmtree(self._place.private, ignore_errors=True)


class Workers:
    """The workers of one rank, under their nannies.

    Parameters
    ----------
    work : mapping
        What :func:`dask_runner.specs.work` made.
    channel : Channel
        To the rank.
    """

    def __init__(self, work: Mapping[str, Any], channel: Channel) -> None:
        self._work = work
        self._channel = channel
        self._servers: list[Any] = []

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
                channel.send(self._outcome(start))
            return await end
        finally:
            start.cancel()
            await self._close()

    async def _close(self) -> None:
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
        # One that has not started may not know how to close; its end is ours.
        for nanny in self.nannies:
            if pid := nanny.worker_pid:
                _kill(pid)

    async def _start(self) -> None:
        work = self._work
        lifeline.find_modules(work["path"])
        kind = import_term(work["worker_class"])
        if work["mpi_ranks"]:
            from dask_runner import mpi_world  # noqa: PLC0415  few need it

            # In the main thread, which MPI wants to see at its end again; there is
            # nothing to be done meanwhile.
            mpi_world.begin(work["mpi_ranks"])
        started = [work["fleet"]] if work["fleet"] else work["workers"]
        await asyncio.gather(
            *(
                self._up(kind, {**work["common"], **one, **work["options"]})
                for one in started
            )
        )

    async def _up(self, kind: Any, options: dict[str, Any]) -> None:
        """Start one; again, if it is killed meanwhile."""
        for tries_left in range(AGAIN, -1, -1):
            server = self._server(kind, dict(options))
            self._servers.append(server)
            try:
                await server
            except Exception:
                # Raised again, unless the reason is that somebody killed it: Dask
                # has no exception of its own for that.
                killed = isinstance(server, WatchedNanny) and server.killed
                if not killed or not tries_left:
                    raise
                self._servers.remove(server)
            else:
                return

    def _died(self, name: str, how: str) -> None:
        self._channel.send(m.WorkerDied(name, how))

    def _server(self, kind: Any, options: dict[str, Any]) -> Any:
        work = self._work
        variables = {**work["environ"], **options.pop("env", {})}
        bound = options.pop("cpus", ())
        if not work["nanny"]:
            os.environ.update(variables)
            return kind(work["scheduler"], **options)
        if isinstance(kind, type) and issubclass(kind, Nanny):
            return kind(work["scheduler"], env=variables, **options)
        place = Place(**work["place"])
        kind = Placed(
            kind,
            tuple(bound or place.cpus),
            place.directory,
            work["log"],
            tuple(work["path"]),
        )
        with dask.config.set(SELDOM):
            return WatchedNanny(
                work["scheduler"],
                worker_class=kind,
                env=variables,
                tell=self._died,
                **options,
            )

    def _outcome(self, start: asyncio.Future[None]) -> m.Message:
        work = self._work
        error = start.exception()
        if error is None:
            workers = work["workers"]
            limits = [worker["memory_limit"] for worker in workers]
            return m.WorkersUp(
                [str(worker["name"]) for worker in workers],
                sum(worker["nthreads"] for worker in workers),
                sum(limits) if all(limits) else 0,
            )
        if isinstance(error, RunnerError):
            return m.Failed(error.saw, error.needed, error.do, error.status)
        options = "--worker-class, --preload, --resources and worker_options"
        what = f"workers of the class {work['worker_class']}"
        return lifeline.did_not_start(what, error, options)


def _configure() -> None:
    """Set what this process knows better than Dask's configuration."""
    dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})
    if importlib.util.find_spec("gilknocker") is None:
        # Each nanny and each worker would look for it, through all of the path.
        dask.config.set({"distributed.admin.system-monitor.gil.enabled": False})


def _members(server: Any) -> list[Any]:
    """Return a fleet's nannies, which can be told why they end; else the server."""
    return list(getattr(server, "nannies", [server]))


async def _end(channel: Channel) -> bool:
    while isinstance(message := await channel.receive(), m.Ping):
        pass
    return isinstance(message, m.Close)
