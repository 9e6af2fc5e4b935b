"""The state of the whole cluster, on rank 0, and what follows from it.

It knows which ranks are there, tells them when the scheduler is up, the client
when all is ready, and everyone when and with which status it ends. What comes in
and goes out is messages: it opens no socket and starts no process.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dask_runner import messages as m
from dask_runner.errors import AssemblyError, LostError, RunnerError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from dask_runner.channel import Channel
    from dask_runner.options import Settings
    from dask_runner.report import Reporter
    from dask_runner.roles import Plan
    from dask_runner.world import World

#: Seconds for all ranks to stop their processes once the cluster ends.
STOP = 8.0
#: Seconds for the ranks to leave once all have stopped.
LEAVE = 2.0
#: Signals that the script gets and that do not end the cluster by themselves.
PASSED_ON = (signal.SIGUSR1, signal.SIGUSR2)
#: Ranks that a message names one by one.
SHOWN = 16


@dataclass(eq=False)
class Member:
    """A rank that is connected."""

    rank: int
    node: str
    placed: bool
    channel: Channel
    heard: float
    home: str = ""
    leads: bool = False
    workers: tuple[str, ...] = ()
    nthreads: int = 0
    memory: int = 0
    complete: bool = False
    signals: Counter[int] = field(default_factory=Counter)

    @property
    def name(self) -> str:
        """How messages name it."""
        return f"rank {self.rank} on {self.node}"

    @property
    def group(self) -> tuple[str, str]:
        """What it has in common with the ranks that may share its agent."""
        return self.node, self.home


class Cluster:
    """The one place that decides.

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
    ends_at : float, optional
        When the launcher ends the job, in seconds since 1970.
    """

    def __init__(
        self,
        world: World,
        plan: Plan,
        settings: Settings,
        report: Reporter,
        scheduler_address: str = "",
        ends_at: float | None = None,
    ) -> None:
        self._world = world
        self._plan = plan
        self._settings = settings
        self._report = report
        self._ends_at = ends_at
        self._members: dict[int, Member] = {}
        self._arrived: set[int] = set()
        # What would be looked for among all ranks at each message, which adds up
        # to the square of their number, is kept instead.
        self._on_node: dict[str, list[int]] = {}
        self._waiting: dict[tuple[str, str], list[Member]] = {}
        self._led: set[tuple[str, str]] = set()
        self._missing = set(plan.workers)
        self._staying: set[int] = set()
        self._registered = 0
        self._scheduler = (
            m.SchedulerUp(scheduler_address, 0) if plan.scheduler is None else None
        )
        self._complete = False
        self._client_told = False
        self._status: int | None = None
        self._signal = 0
        self._signals: Counter[int] = Counter()
        self._waits_for_late_ranks = True
        self._changed = asyncio.Event()
        self._noted: set[str] = set()
        self._began = time.monotonic()
        _later(settings.timeout, self._assembly_over)

    # --- ranks come and go --------------------------------------------------

    @property
    def members(self) -> tuple[Member, ...]:
        """The ranks that are connected."""
        return tuple(self._members.values())

    def join(self, hello: m.Hello, channel: Channel) -> Member | None:
        """Take a rank in; None if there is no such rank, or it is here already."""
        if not 0 <= hello.rank < self._world.size or hello.rank in self._arrived:
            self._report.warn(f"a second rank {hello.rank} on {hello.node}, refused")
            return None
        member = Member(
            hello.rank,
            hello.node,
            hello.placed,
            channel,
            time.monotonic(),
            hello.home,
            hello.leads,
        )
        self._members[hello.rank] = member
        self._arrived.add(hello.rank)
        self._staying.add(hello.rank)
        self._on_node.setdefault(hello.node, []).append(hello.rank)
        self._waiting.setdefault(member.group, []).append(member)
        if member.leads:
            self._led.add(member.group)
        if self._status is not None:
            channel.send(m.Close(self._status))
        # Until all are there, one that comes changes nothing but for its own node.
        self._advance(None if self.assembled else member.group)
        return member

    def hear(self, member: Member, message: m.Message) -> None:
        """Act on what a rank says; KeyError for what a rank cannot say."""
        member.heard = time.monotonic()
        self._handlers[type(message)](self, member, message)

    def gone(self, member: Member, why: str) -> None:
        """Act on the loss of a rank."""
        del self._members[member.rank]
        self._staying.discard(member.rank)
        self._on_node[member.node].remove(member.rank)
        self._registered -= len(member.workers)
        member.workers = ()
        if member.leads:
            self._led.discard(member.group)
        if member in (waiting := self._waiting.get(member.group, [])):
            waiting.remove(member)
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
        self._missing.discard(member.rank)
        self._registered -= len(member.workers)
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
        elif self._registered < needed and not self._missing:
            self.fail(
                AssemblyError(
                    f"{member.name} failed, and {self._registered} workers are left",
                    f"{needed} (--min-workers)",
                )
            )
        else:
            self._advance()

    # --- from nothing to ready ----------------------------------------------

    def _advance(self, group: tuple[str, str] | None = None) -> None:
        """Tell everyone, or one group alone, what has become possible."""
        if self._status is not None or self._scheduler is None:
            self._changed.set()
            return
        for each in list(self._waiting) if group is None else (group,):
            self._start(each, self._scheduler.address)
        # A plan without a scheduler or a client has no such member.
        host = self._members.get(self._plan.scheduler)  # type: ignore[arg-type]
        client = self._members.get(self._plan.client)  # type: ignore[arg-type]
        if host is not None and not self._complete and self._enough():
            self._complete = True
            host.channel.send(m.Complete())
        if client is not None and not self._client_told and self._enough():
            self._client_told = True
            link = self._report.ready(
                time.monotonic() - self._began,
                self._registered,
                [member for member in self._members.values() if member.complete],
                self._scheduler,
            )
            client.channel.send(
                m.Ready(self._scheduler.address, link, self._registered)
            )
            self._stop_in_time()
            # Who waits for the leader of its node has waited long enough.
            self._advance()
        self._changed.set()

    def _start(self, group: tuple[str, str], address: str) -> None:
        """Start the ranks of a group that can."""
        waiting = self._waiting.get(group, [])
        if not any(map(self._knows_its_node, waiting)):
            return
        ranks = sorted(self._on_node[group[0]])
        for local_rank, rank in enumerate(ranks):
            member = self._members[rank]
            if member in waiting and self._knows_its_node(member):
                borrows = not member.leads and group in self._led
                member.channel.send(m.Start(address, local_rank, len(ranks), borrows))
        self._waiting[group] = [
            member for member in waiting if not self._knows_its_node(member)
        ]

    def _knows_its_node(self, member: Member) -> bool:
        """Say whether a rank can start, or had better wait for others of its node."""
        if self.assembled:
            return True
        if not member.placed:
            return False
        waits = member.home and not member.leads and member.group not in self._led
        return not waits or self._client_told

    @property
    def assembled(self) -> bool:
        """Whether every rank has arrived."""
        return len(self._arrived) == self._world.size

    def _late(self) -> list[str]:
        """Names of the ranks whose workers are not up."""
        return [
            f"rank {rank}" if rank not in self._members else self._members[rank].name
            for rank in sorted(self._missing)
        ]

    def _enough(self) -> bool:
        wanted = self._settings.min_workers
        if wanted is None:
            return self.assembled and not self._missing
        return self._registered >= int(wanted)

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
                    f"{self._registered} workers registered within {seconds}, but "
                    f"none of {', '.join(late[:10])}",
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
        self._registered += len(message.names) - len(member.workers)
        self._missing.discard(member.rank)
        member.workers = tuple(message.names)
        member.complete = True
        member.nthreads, member.memory = message.nthreads, message.memory
        planned = len(self._plan.workers)
        self._report.progress(planned - len(self._missing), planned)
        self._advance(member.group)

    def _on_worker_died(self, member: Member, message: m.WorkerDied) -> None:
        if self._status is None:
            self._report.warn(
                f"worker {message.name} of {member.name} {message.how}; it is started "
                "again"
            )

    def _on_client_ended(self, member: Member, message: m.ClientEnded) -> None:
        if member.rank != self._plan.client:
            return
        status = message.status
        if self._signal:
            status = status or 128 + self._signal
        elif message.said:
            self._report.error(message.said)
        self.close(status)

    def _on_scheduler_closed(self, member: Member, message: m.SchedulerClosed) -> None:
        """Note that a client shut the cluster down: the script goes on without."""
        del member, message
        self._report.note("the client has shut the cluster down")
        if self._plan.client is None:
            self.close(0)

    def _on_failed(self, member: Member, message: m.Failed) -> None:
        saw = f"{member.name}: {message.saw}"
        error = RunnerError(saw, message.needed, message.do)
        error.status = message.status
        needed = {self._plan.scheduler, self._plan.client}
        begins_with_all = not self._client_told and self._settings.min_workers is None
        if member.rank in needed or begins_with_all:
            self.fail(error)
        elif self._status is None:
            self._report.warn(str(error))
            self._without(member)

    def _on_note(self, member: Member, message: m.Note) -> None:
        # Ranks of one shape have the same to say; once is enough.
        if message.text not in self._noted:
            self._noted.add(message.text)
            self._report.note(f"{member.name}: {message.text}")

    def _on_bye(self, member: Member, message: m.Bye) -> None:
        del message
        self._staying.discard(member.rank)
        self._changed.set()

    def _on_ping(self, member: Member, message: m.Ping) -> None:
        """Nothing to do: that it was heard is noted for every message."""

    def _on_signalled(self, member: Member, message: m.Signalled) -> None:
        """Pass a signal to the client once, though a launcher sends it to all ranks.

        A second one that would end the script ends the cluster at once.
        """
        number = message.number
        member.signals[number] += 1
        if member.signals[number] <= self._signals[number]:
            return
        self._signals[number] += 1
        client = self._members.get(self._plan.client)  # type: ignore[arg-type]  # as above
        begun = client is not None and self._client_told
        if number in PASSED_ON:
            if client is not None and begun:
                client.channel.send(message)
            return
        self._end_script(number)

    def _end_script(self, number: int) -> None:
        """Let the script end by a signal, in its grace; the second time at once."""
        client = self._members.get(self._plan.client)  # type: ignore[arg-type]  # as above
        again = bool(self._signal)
        self._signal = number
        self._waits_for_late_ranks = False
        if client is None or not self._client_told or again:
            self.close(128 + number)
        else:
            client.channel.send(m.Signalled(number))
            _later(self._settings.grace, self.close, 128 + number)

    def _stop_in_time(self) -> None:
        """Let the script save its work before the job's time is over."""
        if self._settings.stop_before is None:
            return
        if self._ends_at is None:
            self._report.note(
                "--stop-before has no effect: SLURM_JOB_END_TIME does not tell when "
                "the job ends"
            )
            return
        left = self._ends_at - self._settings.stop_before - time.time()
        _later(max(0.0, left), self._time_is_over)

    def _time_is_over(self) -> None:
        if self._status is None and not self._signal:
            assert self._ends_at is not None  # noqa: S101  the timer was set for it
            left = self._ends_at - time.time()
            self._report.note(f"the job ends in {left:.0f} s: SIGTERM to the script")
            self._end_script(signal.SIGTERM)

    _handlers: Mapping[type[m.Message], Callable[[Cluster, Member, Any], None]] = {
        m.SchedulerUp: _on_scheduler_up,
        m.WorkersUp: _on_workers_up,
        m.WorkerDied: _on_worker_died,
        m.ClientEnded: _on_client_ended,
        m.SchedulerClosed: _on_scheduler_closed,
        m.Failed: _on_failed,
        m.Note: _on_note,
        m.Bye: _on_bye,
        m.Ping: _on_ping,
        m.Signalled: _on_signalled,
    }

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
        if self._client_told:
            self._report.ended(status, time.monotonic() - self._began)
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
        byes = self._until(lambda: not self._staying)
        await _within(STOP + self._settings.grace, byes)
        if not self.assembled and self._waits_for_late_ranks:
            left = self._began + self._settings.timeout - time.monotonic()
            everyone = self._until(lambda: self.assembled and not self._staying)
            await _within(max(left, 0.0), everyone)
        for member in self._members.values():
            member.channel.send(m.Finish())
        others = self._until(lambda: len(self._members) == (0 in self._members))
        await _within(LEAVE, others)
        assert self._status is not None  # noqa: S101  awaited above
        return self._status

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            self._changed.clear()
            await self._changed.wait()


def _later(seconds: float, call: Callable[..., None], *args: object) -> None:
    asyncio.get_running_loop().call_later(seconds, call, *args)


async def _within(seconds: float, awaited: Awaitable[None]) -> None:
    """Wait, but not longer than *seconds*."""
    try:
        async with asyncio.timeout(seconds):
            await awaited
    except TimeoutError:
        return


def _ranks(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:SHOWN])) + (
        ", …" if len(numbers) > SHOWN else ""
    )
    return f"rank{'s' if len(numbers) > 1 else ''} {shown}"
