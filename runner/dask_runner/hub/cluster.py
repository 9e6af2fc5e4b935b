"""The state of the whole cluster, on rank 0, and what follows from it.

It tells the ranks (:mod:`dask_runner.hub.roster`) when the scheduler is up, the client
when all is ready (:mod:`dask_runner.hub.assembly`), and everyone when and with which
status it ends (:mod:`dask_runner.hub.ending`). What comes in and goes out is messages:
it opens no socket and starts no process.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from dask_runner.errors import (
    AssemblyError,
    ConfigError,
    LostError,
    RunnerError,
    SignalledError,
)
from dask_runner.hub import messages as m
from dask_runner.hub.agents import Agents
from dask_runner.hub.assembly import Assembly
from dask_runner.hub.ending import PASSED_ON, Ending, later
from dask_runner.hub.losses import Losses, never_came
from dask_runner.hub.roster import Roster
from dask_runner.hub.workforce import Workforce
from dask_runner.mpi import families

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from dask_runner.hub.channel import Channel
    from dask_runner.hub.report import Reporter
    from dask_runner.hub.roster import Member
    from dask_runner.launch.plan import Plan
    from dask_runner.launch.settings import Settings
    from dask_runner.launch.world import World
    from dask_runner.meeting.notice import Notice


class Cluster:
    """The one place that decides.

    Parameters
    ----------
    world : World
    plan : Plan
    settings : Settings
        ``timeout``, ``min_workers``, ``grace``, ``stop_before``.
    report : Reporter
        Prints for the user.
    scheduler_address : str
        A scheduler that runs elsewhere, for a plan without one.
    ends_at : float, optional
        When the launcher ends the job, in seconds since 1970.
    notices : bool
        Whether notices can be left for ranks that come too late.
    """

    def __init__(
        self,
        world: World,
        plan: Plan,
        settings: Settings,
        report: Reporter,
        scheduler_address: str = "",
        ends_at: float | None = None,
        *,
        notices: bool = False,
    ) -> None:
        self._world = world
        self._plan = plan
        self._settings = settings
        self._report = report
        self._roster = Roster(world.size, plan.workers)
        self._ending = Ending(
            self._roster, plan.client, settings, report, ends_at, notices=notices
        )
        self._losses = Losses(report)
        self._agents = Agents(self._lost_its_agent)
        self._workforce = Workforce(self._roster, settings.timeout, self.fail)
        self._mpi_families: dict[str, Member] = {}
        scheduler = m.SchedulerUp(scheduler_address)
        self._assembly = Assembly(
            self._roster,
            plan,
            settings,
            report,
            self._ending,
            scheduler if plan.scheduler is None else None,
        )
        self._noted: set[str] = set()
        later(settings.timeout, self._assembly_over)

    # --- ranks come and go --------------------------------------------------

    @property
    def members(self) -> tuple[Member, ...]:
        """The ranks that are connected."""
        return self._roster.members

    @property
    def size(self) -> int:
        """How many ranks there are to be."""
        return self._world.size

    @property
    def arrived(self) -> frozenset[int]:
        """The ranks that have arrived, or have left a notice that they will not."""
        return self._roster.arrived

    @property
    def assembled(self) -> bool:
        """Whether every rank has arrived."""
        return self._roster.assembled

    @property
    def may_come(self) -> bool:
        """Whether ranks are still to come."""
        return not self.assembled and self._ending.seconds < self._settings.timeout

    def join(self, hello: m.Hello, channel: Channel) -> Member | None:
        """Take a rank in; None if there is no such rank, or it is here already."""
        if not self._roster.may_join(hello.rank):
            self._report.warn(f"a second rank {hello.rank} on {hello.node}, refused")
            return None
        member = self._roster.add(hello, channel)
        if self._over:
            channel.send(m.Close(self._ending.status or 0))
        else:
            self._compare_mpi(member)
        # Until all are there, one that comes changes nothing but for its own node.
        self._assembly.advance(None if self.assembled else member.node)
        return member

    def _compare_mpi(self, newest: Member) -> None:
        """End a job whose ranks would load MPIs of two families."""
        family = families.of(newest.hello.mpi)
        if not family or self._mpi_families.setdefault(family, newest) is not newest:
            return
        try:
            libraries = {one.rank: one.hello.mpi for one in self._roster.members}
            families.refuse_two(libraries)
        except ConfigError as error:
            self.fail(error)

    def hear(self, member: Member, message: m.Message) -> None:
        """Act on what a rank says; KeyError for what a rank cannot say."""
        member.heard = time.monotonic()
        self._handlers[type(message)](self, member, message)

    def read(self, notice: Notice, signed: Iterable[int]) -> None:
        """Act on the notice of a rank that cannot come, as its signers have done."""
        if self._roster.may_join(notice.rank):
            self._ending.over(notice)
        for rank in signed:
            self._roster.excuse(rank)
        self._ending.changed()

    def signalled(self, error: SignalledError, ranks: Iterable[int]) -> None:
        """End because of a signal that came before these ranks were connected."""
        for rank in ranks:
            self._roster.excuse(rank)
        self._ending.asked_to_end(error)

    @property
    def cause(self) -> RunnerError | None:
        """Why it has ended, if others are to find a notice of it."""
        return self._ending.cause if self._ending.leaves_notice else None

    def gone(self, member: Member, why: str) -> None:
        """Act on the loss of a rank."""
        workers = list(member.workers)
        self._roster.remove(member)
        self._workforce.forget(member)
        self._ending.changed()
        if self._over:
            return
        if member.rank == self._plan.client:
            self.fail(LostError(f"{member.name} with the client was lost: {why}"))
        elif member.rank == self._plan.scheduler and self._assembly.scheduler:
            self.fail(LostError(f"{member.name} with the scheduler was lost: {why}"))
        else:
            self._losses.add(member, why)
            host = self._roster.member(self._plan.scheduler)
            if host is not None and workers:
                host.channel.send(m.WorkersLost(workers))
            self._without(member, why)
        lost = f"{member.name}, which leads its node, was lost: {why}"
        self._agents.explained(member, LostError(lost))

    def _without(self, member: Member, why: object) -> None:
        """Go on without a rank's workers, if there are enough left."""
        self._roster.give_up(member)
        self._workforce.forget(member)
        if self._needs_all:
            self.fail(
                AssemblyError(
                    f"{member.name} failed before the cluster was ready",
                    f"all {self._world.size} ranks",
                    "mend it, or begin with fewer by --min-workers",
                )
            )
        else:
            self._go_on(f"{member.name} was lost: {_saw(why)}")

    def _go_on(self, what: str) -> None:
        """Go on, though a rank is lost, if there are enough workers left."""
        roster = self._roster
        needed = self._settings.min_workers or 1
        if roster.registered < needed and not roster.missing:
            # At the beginning there were not enough, later they were lost.
            kind = LostError if self._assembly.ready else AssemblyError
            left = f"only {roster.registered}" if roster.registered else "none"
            self.fail(
                kind(
                    f"of all workers {left} is left, as {what}",
                    f"{needed} (--min-workers)" if needed > 1 else "one worker",
                    "look for what ended it: other messages above, the node's memory",
                )
            )
        else:
            self._assembly.advance()
            self._look_for_workers()

    def _look_for_workers(self) -> None:
        if self._assembly.ready and not self._over:
            self._workforce.look()

    @property
    def _needs_all(self) -> bool:
        """Whether the cluster cannot begin without each of its ranks."""
        return not self._assembly.ready and self._settings.min_workers is None

    def _assembly_over(self) -> None:
        if not self._assembly.ready and not self._over:
            self.fail(self._assembly.what_is_missing())

    # --- what the ranks say -------------------------------------------------

    def _on_scheduler_up(self, member: Member, message: m.SchedulerUp) -> None:
        if member.rank == self._plan.scheduler:
            self._assembly.scheduler_up(message)

    def _on_workers_up(self, member: Member, message: m.WorkersUp) -> None:
        self._roster.workers_up(member, message)
        self._workforce.forget(member)
        planned = len(self._plan.workers)
        self._report.progress(planned - len(self._roster.missing), planned)
        self._assembly.advance(member.node)

    def _on_worker_died(self, member: Member, message: m.WorkerDied) -> None:
        if not self._over:
            self._report.warn(
                f"worker {message.name} of {member.name} {message.how}; it is started "
                "again"
            )
        self._on_worker_down(member, message)

    def _on_worker_down(
        self, member: Member, message: m.WorkerDied | m.WorkerDown
    ) -> None:
        self._workforce.down(member, message)
        self._look_for_workers()

    def _on_worker_back(self, member: Member, message: m.WorkerBack) -> None:
        self._workforce.back(member, message.name)
        self._look_for_workers()

    def _on_worker_left(self, member: Member, message: m.WorkerLeft) -> None:
        self._workforce.left(member, message.name)
        self._look_for_workers()

    def _on_agent_gone(self, member: Member, message: m.AgentGone) -> None:
        if not message.own:
            self._agents.missed(member)
            return
        why = LostError(
            f"its node agent {message.how}",
            "an agent for as long as the script runs",
            "look for what ended it: the node's memory, another program",
        )
        self._lost_its_agent(member, why)
        self._agents.explained(member, why)

    def _lost_its_agent(self, member: Member, why: RunnerError) -> None:
        """Go on without the workers of a rank, which its agent had started."""
        if self._over:
            return
        if self._needs_all:
            self.fail(_of(member, why))
        else:
            self._losses.add(member, why.saw)
            self._without(member, why)

    def _on_client_ended(self, member: Member, message: m.ClientEnded) -> None:
        if member.rank == self._plan.client:
            self._losses.tell()
            self._ending.client_ended(message)

    def _on_scheduler_closed(self, member: Member, message: m.SchedulerClosed) -> None:
        """Note that a client shut the cluster down: the script goes on without."""
        del member, message
        self._report.note("the client has shut the cluster down")
        if self._plan.client is None:
            self.close(0)

    def _on_failed(self, member: Member, message: m.Failed) -> None:
        error = RunnerError(message.saw, message.needed, message.do)
        error.status = message.status
        needs = {self._plan.scheduler, self._plan.client}
        if member.rank in needs or self._needs_all:
            self.fail(_of(member, error))
        elif not self._over:
            self._losses.add(member, error)
            self._without(member, error)
        self._agents.explained(member, error)

    def _on_absent(self, member: Member, message: m.Absent) -> None:
        """Act on the loss of a rank that never joined, as its node has seen it."""
        rank, node = message.rank, member.node
        if self._over or not self._roster.strike(rank, node):
            return
        what = message.on(node)
        if rank in {self._plan.scheduler, self._plan.client} or self._needs_all:
            self.fail(never_came(message, node, self._world.size))
        elif rank < 0:
            self._report.warn(f"lost {what}")
        else:
            self._losses.note(rank, node, f"it {message.saw}")
            self._go_on(what)

    def _on_note(self, member: Member, message: m.Note) -> None:
        # Ranks of one shape have the same to say; once is enough.
        if message.text not in self._noted:
            self._noted.add(message.text)
            self._report.note(f"{member.name}: {message.text}")

    def _on_bye(self, member: Member, message: m.Bye) -> None:
        del message
        self._roster.staying.discard(member.rank)
        self._ending.changed()

    def _on_ping(self, member: Member, message: m.Ping) -> None:
        """Nothing to do: that it was heard is noted for every message."""

    def _on_signalled(self, member: Member, message: m.Signalled) -> None:
        rank = message.rank if message.rank >= 0 else member.rank
        if message.number not in PASSED_ON and self._roster.may_join(rank):
            self._roster.excuse(rank)  # its leader lets it end, or it does so itself
        name = f"rank {rank} on {member.node}"
        self._ending.signalled(rank, name, message.number)

    _handlers: Mapping[type[m.Message], Callable[[Cluster, Member, Any], None]] = {
        m.SchedulerUp: _on_scheduler_up,
        m.WorkersUp: _on_workers_up,
        m.WorkerDied: _on_worker_died,
        m.WorkerDown: _on_worker_down,
        m.WorkerBack: _on_worker_back,
        m.WorkerLeft: _on_worker_left,
        m.AgentGone: _on_agent_gone,
        m.ClientEnded: _on_client_ended,
        m.SchedulerClosed: _on_scheduler_closed,
        m.Failed: _on_failed,
        m.Absent: _on_absent,
        m.Note: _on_note,
        m.Bye: _on_bye,
        m.Ping: _on_ping,
        m.Signalled: _on_signalled,
    }

    # --- the end ------------------------------------------------------------

    @property
    def _over(self) -> bool:
        return self._ending.status is not None

    def fail(self, error: RunnerError) -> None:
        """End the cluster because of an error, and say it."""
        self._losses.tell()
        self._ending.fail(error)

    def close(self, status: int) -> None:
        """End the cluster with *status*; the first call decides."""
        self._ending.close(status)

    async def finished(self) -> int:
        """Wait until the cluster has ended and all ranks have left.

        Returns
        -------
        int
            The status of the job.
        """
        return await self._ending.finished()


def _of(member: Member, error: RunnerError) -> RunnerError:
    """Return an error that says whose it is."""
    named = RunnerError(f"{member.name}: {error.saw}", error.needed, error.do)
    named.status = error.status
    return named


def _saw(why: object) -> str:
    return why.saw if isinstance(why, RunnerError) else str(why)
