"""Rank 0's server: all ranks stay connected to it, and it decides.

It knows which ranks are there, tells them when the scheduler is up, the client
when the cluster is ready, and all of them when and with which status it ends. It
starts no process itself.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dask_runner import link
from dask_runner import messages as m
from dask_runner.errors import AssemblyError, LostError, RunnerError
from dask_runner.messages import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dask_runner.channel import Channel
    from dask_runner.options import Settings
    from dask_runner.report import Reporter
    from dask_runner.roles import Plan
    from dask_runner.world import World

#: Seconds between signs of life, each way.
PING = 5.0
#: Seconds of silence after which a rank counts as lost.
SILENCE = 30.0
#: Seconds for all ranks to stop their processes once the cluster ends.
STOP = 8.0
#: Seconds for the ranks to leave once all have stopped.
LEAVE = 2.0
#: Strangers' connections answered at once; the rest wait in the kernel's queue.
STRANGERS = 64
#: Ranks that a message names one by one.
SHOWN = 16


@dataclass
class Member:
    """A rank that is connected."""

    rank: int
    node: str
    placed: bool
    channel: Channel
    heard: float
    started: bool = False
    workers: tuple[str, ...] = ()
    complete: bool = False
    said_bye: bool = False
    signals: Counter[int] = field(default_factory=Counter)

    @property
    def name(self) -> str:
        """How messages name it."""
        return f"rank {self.rank} on {self.node}"


class Hub:
    """The one place that knows the state of the whole cluster.

    Parameters
    ----------
    world : World
    plan : Plan
    settings : Settings
        ``timeout``, ``min_workers``, ``grace``.
    report : Reporter
        Prints for the user.
    scheduler_address : str
        A scheduler that runs elsewhere, for a plan without one.
    """

    def __init__(
        self,
        world: World,
        plan: Plan,
        settings: Settings,
        report: Reporter,
        scheduler_address: str = "",
    ) -> None:
        self._world = world
        self._plan = plan
        self._settings = settings
        self._report = report
        self.secret = secrets.token_bytes(32)
        self._members: dict[int, Member] = {}
        self._arrived: set[int] = set()
        self._lost: set[int] = set()
        self._scheduler = (
            m.SchedulerUp(scheduler_address, 0) if plan.scheduler is None else None
        )
        self._client_told = False
        self._status: int | None = None
        self._signal = 0
        self._waits_for_late_ranks = True
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._strangers = asyncio.Semaphore(STRANGERS)
        self._stranger_seen = False
        self._noted: set[str] = set()
        self._share = (0, 0)
        self._opened = time.monotonic()

    # --- connections --------------------------------------------------------

    async def open(self, host: str) -> int:
        """Listen on *host*; return the port that the system chose."""
        backlog = min(self._world.size + STRANGERS, 4096)
        self._server = await asyncio.start_server(
            self._accept, host, 0, backlog=backlog
        )
        self._later(self._settings.timeout, self._assembly_over)
        self._spawn(self._listen_for_silence())
        return int(self._server.sockets[0].getsockname()[1])

    async def _accept(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._spawn(self._hold(reader, writer))

    async def _hold(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with closing(writer):  # also where `shut` ends a handshake
            await self._serve(reader, writer)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        peer = writer.get_extra_info("peername")
        try:
            async with self._strangers:
                channel = await link.accept(reader, writer, self.secret)
            hello = _hello(await channel.receive())
        except (link.StrangerError, ProtocolError) as error:
            writer.close()
            if not self._stranger_seen:
                self._stranger_seen = True
                self._report.warn(f"refused a connection from {peer[0]}: {error}")
            return
        member = self._join(hello, channel)
        if member is None:
            writer.close()
            return
        why = "its connection closed"
        try:
            while (message := await channel.receive()) is not None:
                member.heard = time.monotonic()
                self._handlers[type(message)](self, member, message)
        except (ProtocolError, KeyError) as error:
            why = f"it sent {error}"
        writer.close()
        self._gone(member, why)

    def _join(self, hello: m.Hello, channel: Channel) -> Member | None:
        if not 0 <= hello.rank < self._world.size or hello.rank in self._arrived:
            self._report.warn(f"a second rank {hello.rank} on {hello.node}, refused")
            return None
        member = Member(
            hello.rank,
            hello.node,
            hello.placed,
            channel,
            time.monotonic(),
        )
        self._members[hello.rank] = member
        self._arrived.add(hello.rank)
        if self._status is not None:
            channel.send(m.Close(self._status))
        self._advance()
        return member

    # --- from nothing to ready ----------------------------------------------

    def _advance(self) -> None:
        """Tell everyone what has become possible."""
        if self._status is not None or self._scheduler is None:
            self._changed.set()
            return
        places = self._places()
        for member in self._members.values():
            if not member.started and (member.placed or self.assembled):
                member.started = True
                local_rank, local_size = places[member.rank]
                member.channel.send(
                    m.Start(self._scheduler.address, local_rank, local_size)
                )
        client = self._members.get(self._plan.client)  # type: ignore[arg-type]  # a plan without a client has none
        if client is not None and not self._client_told and self._enough():
            self._client_told = True
            nodes = {member.node for member in self._members.values()}
            link_ = self._report.ready(
                time.monotonic() - self._opened,
                len(self._up),
                len(nodes),
                self._share,
                self._scheduler,
            )
            client.channel.send(m.Ready(self._scheduler.address, link_, len(self._up)))
        self._changed.set()

    def _places(self) -> dict[int, tuple[int, int]]:
        by_node: dict[str, list[int]] = {}
        for rank in sorted(self._members):
            by_node.setdefault(self._members[rank].node, []).append(rank)
        return {
            rank: (ranks.index(rank), len(ranks))
            for ranks in by_node.values()
            for rank in ranks
        }

    @property
    def assembled(self) -> bool:
        """Whether every rank has arrived."""
        return len(self._arrived) == self._world.size

    @property
    def _up(self) -> list[str]:
        return [name for member in self._members.values() for name in member.workers]

    def _late(self) -> list[str]:
        """Names of the ranks whose workers are not up."""
        return [
            f"rank {rank}" if rank not in self._members else self._members[rank].name
            for rank in self._plan.workers
            if rank not in self._lost
            and not (rank in self._members and self._members[rank].complete)
        ]

    def _enough(self) -> bool:
        wanted = self._settings.min_workers
        if wanted is None:
            return self.assembled and not self._late()
        return len(self._up) >= int(wanted)

    def _assembly_over(self) -> None:
        if self._client_told or self._status is not None:
            return
        missing = sorted(set(range(self._world.size)) - self._arrived)
        seconds = f"{self._settings.timeout:g} s"
        if missing:
            self.fail(
                AssemblyError(
                    f"{_ranks(missing)} of {self._world.size} did not arrive within "
                    f"{seconds}",
                    "all ranks, each able to reach "
                    f"{self._members[0].node if 0 in self._members else 'rank 0'}",
                    "look for errors of these tasks above; --timeout gives more "
                    "time, --min-workers begins with fewer",
                )
            )
        elif self._scheduler is None:
            self.fail(
                AssemblyError(
                    f"the scheduler was not up within {seconds}",
                    "a scheduler",
                    "give more time with --timeout",
                )
            )
        else:
            late = self._late()
            self.fail(
                AssemblyError(
                    f"{len(self._up)} workers registered within {seconds}, but none of "
                    f"{', '.join(late[:10])}",
                    f"{self._settings.min_workers or 'all'} workers",
                    "--timeout gives more time, --min-workers begins with fewer",
                )
            )

    # --- what the ranks say -------------------------------------------------

    def _on_scheduler_up(self, member: Member, message: m.SchedulerUp) -> None:
        if member.rank == self._plan.scheduler:
            self._scheduler = message
            self._advance()

    def _on_workers_up(self, member: Member, message: m.WorkersUp) -> None:
        member.workers = tuple(message.names)
        member.complete = True
        self._share = (message.nthreads, message.memory)
        planned = len(self._plan.workers)
        self._report.progress(planned - len(self._late()), planned)
        self._advance()

    def _on_client_ended(self, member: Member, message: m.ClientEnded) -> None:
        if member.rank != self._plan.client:
            return
        status = message.status
        if self._signal:
            status = status or 128 + self._signal
        elif message.said:
            self._report.error(message.said)
        self._report.ended(status, time.monotonic() - self._opened)
        self.close(status)

    def _on_scheduler_closed(self, member: Member, message: m.SchedulerClosed) -> None:
        """Note that a client shut the cluster down: the script goes on without."""
        del member, message
        self._report.note("the client has shut the cluster down")
        if self._plan.client is None:
            self.close(0)

    def _on_failed(self, member: Member, message: m.Failed) -> None:
        error = RunnerError(message.saw, message.needed, message.do)
        error.status = message.status
        if member.rank in (self._plan.scheduler, self._plan.client):
            self.fail(error)
            return
        self._report.warn(f"{member.name}: {error}")
        self._without(member)

    def _on_note(self, member: Member, message: m.Note) -> None:
        # Ranks of one shape have the same to say; once is enough.
        if message.text not in self._noted:
            self._noted.add(message.text)
            self._report.note(f"{member.name}: {message.text}")

    def _on_bye(self, member: Member, message: m.Bye) -> None:
        del message
        member.said_bye = True
        self._changed.set()

    def _on_ping(self, member: Member, message: m.Ping) -> None:
        """Nothing to do: that it was heard is noted for every message."""

    def _on_signalled(self, member: Member, message: m.Signalled) -> None:
        """Pass a signal to the client once; launchers send it to every rank."""
        member.signals[message.number] += 1
        client = self._members.get(self._plan.client)  # type: ignore[arg-type]  # as above
        again = member.signals[message.number] > 1
        if self._signal and not again:
            return
        first = not self._signal
        self._signal = message.number
        self._waits_for_late_ranks = False
        if client is None or not self._client_told or again:
            self.close(128 + message.number)
        elif first:
            client.channel.send(message)
            self._later(self._settings.grace, self.close, 128 + message.number)

    _handlers: Mapping[type[m.Message], Callable[[Hub, Member, Any], None]] = {
        m.SchedulerUp: _on_scheduler_up,
        m.WorkersUp: _on_workers_up,
        m.ClientEnded: _on_client_ended,
        m.SchedulerClosed: _on_scheduler_closed,
        m.Failed: _on_failed,
        m.Note: _on_note,
        m.Bye: _on_bye,
        m.Ping: _on_ping,
        m.Signalled: _on_signalled,
    }

    # --- losses -------------------------------------------------------------

    def _gone(self, member: Member, why: str) -> None:
        del self._members[member.rank]
        self._changed.set()
        if self._status is not None:
            return
        if member.rank == self._plan.client:
            self.fail(LostError(f"{member.name} with the client was lost: {why}"))
        elif member.rank == self._plan.scheduler and self._scheduler is not None:
            self.fail(LostError(f"{member.name} with the scheduler was lost: {why}"))
        else:
            self._report.warn(f"{member.name} was lost: {why}")
            self._without(member)

    def _without(self, member: Member) -> None:
        """Go on without a rank's workers, if there are enough left."""
        self._lost.add(member.rank)
        member.workers = ()
        needed = self._settings.min_workers or 1
        begun = self._client_told
        if not begun and self._settings.min_workers is None:
            self.fail(
                AssemblyError(
                    f"{member.name} failed before the cluster was ready",
                    f"all {self._world.size} ranks",
                    "mend it, or begin with fewer by --min-workers",
                )
            )
        elif len(self._up) < needed and not self._late():
            self.fail(
                AssemblyError(
                    f"{member.name} failed, and {len(self._up)} workers are left",
                    f"{needed} (--min-workers)",
                )
            )
        else:
            self._advance()

    async def _listen_for_silence(self) -> None:
        while True:
            await asyncio.sleep(PING)
            limit = time.monotonic() - SILENCE
            for member in list(self._members.values()):
                member.channel.send(m.Ping())
                if member.heard < limit:
                    self._report.warn(f"{member.name} was silent for {SILENCE:g} s")
                    member.channel.close()

    # --- the end ------------------------------------------------------------

    def fail(self, error: RunnerError) -> None:
        """End the cluster because of an error, and say it."""
        if self._status is None:
            self._report.error(error)
            if isinstance(error, AssemblyError):
                self._waits_for_late_ranks = False
            self.close(error.status)

    def close(self, status: int) -> None:
        """End the cluster with *status*; the first call decides."""
        if self._status is not None:
            return
        self._status = status
        for member in self._members.values():
            member.channel.send(m.Close(status))
        self._changed.set()

    async def finished(self) -> int:
        """Wait until the cluster has ended and all ranks have left.

        Ranks that have not arrived yet are awaited until the deadline of the
        assembly, so that they too learn that it is over.

        Returns
        -------
        int
            The status of the job.
        """
        await self._until(lambda: self._status is not None)
        byes = self._until(lambda: all(x.said_bye for x in self._members.values()))
        await _within(STOP + self._settings.grace, byes)
        if not self.assembled and self._waits_for_late_ranks:
            left = self._opened + self._settings.timeout - time.monotonic()
            everyone = self._until(
                lambda: (
                    self.assembled and all(x.said_bye for x in self._members.values())
                )
            )
            await _within(max(left, 0.0), everyone)
        for member in self._members.values():
            member.channel.send(m.Finish())
        others = self._until(lambda: not set(self._members) - {0})
        await _within(LEAVE, others)
        assert self._status is not None  # noqa: S101  awaited above
        return self._status

    async def shut(self) -> None:
        """Close the server and every connection."""
        self._server.close()
        for member in self._members.values():
            member.channel.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- time ---------------------------------------------------------------

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            self._changed.clear()
            await self._changed.wait()

    def _spawn(self, coroutine: object) -> None:
        task = asyncio.ensure_future(coroutine)  # type: ignore[call-overload]  # coroutines only
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _later(self, seconds: float, call: Callable[..., None], *args: object) -> None:
        asyncio.get_running_loop().call_later(seconds, call, *args)


def _hello(message: m.Message | None) -> m.Hello:
    if not isinstance(message, m.Hello):
        raise ProtocolError(f"{message} where Hello was due")
    return message


async def _within(seconds: float, coroutine: object) -> bool:
    """Wait for a coroutine, but not longer; say whether it was in time."""
    try:
        async with asyncio.timeout(seconds):
            await coroutine  # type: ignore[misc]  # a coroutine object
    except TimeoutError:
        return False
    return True


def _ranks(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:SHOWN])) + (
        ", …" if len(numbers) > SHOWN else ""
    )
    return f"rank{'s' if len(numbers) > 1 else ''} {shown}"
