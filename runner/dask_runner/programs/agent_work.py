"""The agent's work: it runs the workers of its own rank, and of others of the node.

A rank sends ``RunWorkers`` when the scheduler is up. It gets the messages that
:mod:`dask_runner.programs.workers` describes. After ``Close`` it gets ``Bye``, and the
agent stays until the rank sends ``Close`` again, or ends.

The messages of other ranks come over the lifeline as well, in ``OfRank``
(:mod:`dask_runner.node.shared_agent`). Such a rank gets a second ``Bye`` when the agent
has removed what is left of it; ``Gone`` says that the rank has ended without a word.
"""

from __future__ import annotations

import asyncio
import importlib.util
import multiprocessing
import os
from typing import TYPE_CHECKING

import dask.config

from dask_runner.hub import messages as m
from dask_runner.hub.pings import between_pings
from dask_runner.node import messages as n
from dask_runner.node.exits import Ended, StoppedProcesses, ended
from dask_runner.node.instructions import RunWorkers
from dask_runner.programs import carried, fork_server, lifeline
from dask_runner.programs.orphaned_agent import remove_record
from dask_runner.programs.rank_line import RankLine
from dask_runner.programs.workers import Workers, kill
from dask_runner.resources.private_directory import HeldDirectory
from dask_runner.wire import threads

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dask_runner.node.instructions import Published
    from dask_runner.wire.channel import Channel
    from dask_runner.wire.message import Message


#: Seconds for scheduler and client to end by themselves where the rank is gone.
SIBLINGS_SECONDS = 2.0


async def stay(line: RankLine) -> bool:
    """Report that the work is over, and wait for the rank's own end.

    Returns
    -------
    bool
        Whether the rank announces its end; if not, it is lost.
    """
    line.send(m.Bye())
    return await line.receive() is not None


class AgentWork:
    """The agent of a node, with all nannies in this process.

    Parameters
    ----------
    private : Path
        The private directory of the rank that started the agent.
    silence : float
        Seconds that a worker, or the rank, may be stopped.
    variables : frozenset of str
        The names of that rank's variables, which all forks of this process inherit.
    siblings : mapping of int to str
        The processes that were forked beside this one, and when they began.
    published : Published or None
        Where the rank's record may be, if it is rank 0.
    """

    def __init__(
        self,
        private: Path,
        silence: float,
        variables: frozenset[str],
        siblings: Mapping[int, str],
        published: Published | None,
    ) -> None:
        self._published = published
        self._private = HeldDirectory.at(private)
        self._variables = variables
        self._siblings = siblings
        self._silence = silence
        self._stopped = StoppedProcesses(silence)
        self._workers: set[Workers] = set()
        self._lines: dict[int, RankLine] = {}
        self._others: set[asyncio.Task[None]] = set()
        self._found = asyncio.Event()

    # --- the lifeline -------------------------------------------------------

    async def _listen(self, channel: Channel, own: RankLine) -> None:
        """Hand each message to the line of its rank, until the lifeline ends."""
        try:
            while (message := await channel.receive()) is not None:
                if isinstance(message, m.OfRank):
                    self._hear_of(message.rank, message.message, channel)
                else:
                    own.hear(message)
        finally:
            own.hear(None)
            self._end_others()

    def _hear_of(self, rank: int, message: Message, channel: Channel) -> None:
        line = self._lines.get(rank)
        if line is not None:
            line.hear(None if isinstance(message, m.Gone) else message)
        elif isinstance(message, RunWorkers):
            line = RankLine(lambda said: channel.send(m.OfRank(rank, said)))
            self._lines[rank] = line
            task = asyncio.create_task(self._other(rank, message, line))
            self._others.add(task)
            task.add_done_callback(self._others.discard)

    def _end_others(self) -> None:
        # Not cancelled: one that is closing its workers must come to its end.
        for line in self._lines.values():
            line.hear(None)
        self._found.set()

    async def _other(self, rank: int, work: RunWorkers, line: RankLine) -> None:
        """Run the workers of a rank that shares this agent."""
        private = HeldDirectory.at(work.private)
        await self._found.wait()
        try:
            if await self._look_after(work, line):
                await stay(line)
        except Exception as error:
            line.send(m.AgentGone(f"failed: {error!r}"))
            raise
        finally:
            del self._lines[rank]
            # A rank that is gone cannot remove it, one that is there has no use for it
            # any more.
            await threads.in_thread(private.remove)
        line.send(m.Bye())

    # --- workers ------------------------------------------------------------

    async def _look_after(self, work: RunWorkers, line: RankLine) -> bool:
        """Run a rank's workers; return whether the rank has announced its end."""
        workers = Workers(work, line, self._variables)
        self._workers.add(workers)
        try:
            there = await workers.live()
        finally:
            self._workers.discard(workers)
        # The rank's user reads its workers' last lines before those of the end.
        await carried.written()
        return there

    async def watch(self) -> None:
        """Kill processes that were stopped (SIGSTOP); a nanny restarts its worker."""
        top = os.getppid()
        every = between_pings(self._silence)
        while True:
            await asyncio.sleep(every)
            watched = {
                nanny.worker_pid: nanny
                for workers in self._workers
                for nanny in workers.nannies
            }
            own = fork_server.keeper.pids if fork_server.keeper else set()
            for pid in self._stopped.too_long({top, *own, *watched} - {0}, every):
                if pid in watched:
                    watched[pid].why = "it was stopped and not continued"
                kill(pid)

    async def own(self, channel: Channel) -> None:
        """Look after the workers of this rank, until it ends; then end all."""
        own = RankLine(channel.send)
        listening = asyncio.create_task(self._listen(channel, own))
        own.send(m.Ping())  # it is watched from now on
        self._tell_of_fork_servers(channel)
        message = await own.receive()
        while isinstance(message, n.Found):
            lifeline.configure(message.environ)
            _configure()
            self._found.set()
            message = await own.receive()
        there = isinstance(message, m.Close)
        if isinstance(message, RunWorkers):
            there = await self._look_after(message, own)
        lost = not (there and await stay(own))
        if lost:
            # At once: where the rank was a container's first process, the image goes.
            # First those who would write into the directory while it is removed.
            fork_server.stop(patience=0.0)
            self._kill_workers()
            await threads.in_thread(self._remove)
        listening.cancel()
        self._end_others()
        await asyncio.gather(*self._others, return_exceptions=True)
        self._kill_workers()
        # Python's own end waits for the resource tracker first, which waits for the
        # fork server, which waits for this process to close its pipe.
        fork_server.stop()
        if lost:
            await self._see_siblings_off()
        # Once more: Dask makes it anew where it is gone.
        await threads.in_thread(self._private.remove)

    def _kill_workers(self) -> None:
        # A worker has no ear for the SIGTERM that multiprocessing would give it.
        for process in multiprocessing.active_children():
            process.kill()

    async def _see_siblings_off(self) -> None:
        """Wait until nobody is left who writes into the rank's directory.

        They see that the rank is gone when they have begun, and not before.
        """
        latest = asyncio.get_running_loop().time() + SIBLINGS_SECONDS
        for pid, born in self._siblings.items():
            while ended(pid, born) is None:
                if asyncio.get_running_loop().time() > latest:
                    kill(pid)
                await asyncio.sleep(fork_server.LOOK_SECONDS)

    def _tell_of_fork_servers(self, channel: Channel) -> None:
        """Report each lost fork server, from the thread that finds out."""
        if fork_server.keeper is None:
            return
        loop = asyncio.get_running_loop()

        def tell(how: Ended) -> None:
            text = f"its fork server {how}; its workers go on, and have another"
            loop.call_soon_threadsafe(channel.send, m.Note(text))

        fork_server.keeper.tell = tell

    def _remove(self) -> None:
        """Remove what a rank that was killed has left: the record, its directory.

        In that are the directories of all ranks that it has played.
        """
        remove_record(self._published)
        self._private.remove()


def _configure() -> None:
    """Set Dask's options that this process has to fix."""
    dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})
    if importlib.util.find_spec("gilknocker") is None:
        # Each nanny and each worker would search the whole path for it.
        dask.config.set({"distributed.admin.system-monitor.gil.enabled": False})
