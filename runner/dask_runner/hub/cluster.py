"""The cluster as rank 0 has it: each message of a node or a rank has a row here.

The decisions are made elsewhere: when the workers and the client start
(:mod:`dask_runner.hub.assembly`), what follows from a loss
(:mod:`dask_runner.hub.survival`), how many workers there are
(:mod:`dask_runner.hub.scaling`), and when and with which status the cluster ends
(:mod:`dask_runner.hub.ending`). All of them only receive and send messages: they open
no socket and start no process.

The module is long because it is two tables of messages, with a few lines for each row.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from dask_runner.errors import ConfigError, RunnerError, SignalledError
from dask_runner.hub import messages as m
from dask_runner.hub.activity import Activity
from dask_runner.hub.answers import Answers
from dask_runner.hub.assembly import NEIGHBOURS_SECONDS, Assembly
from dask_runner.hub.batch_jobs import BatchJobs
from dask_runner.hub.deadline import Deadline
from dask_runner.hub.ending import Ending, later
from dask_runner.hub.history import History
from dask_runner.hub.joins import Joins
from dask_runner.hub.logs import Logs
from dask_runner.hub.packages import AddedPackages
from dask_runner.hub.roster import Roster
from dask_runner.hub.scaling import Scaling
from dask_runner.hub.shared_state import SharedState
from dask_runner.hub.spares import Spares
from dask_runner.hub.survival import Survival
from dask_runner.hub.telling import Telling
from dask_runner.launch import agreed
from dask_runner.launch.signals import FOR_THE_SCRIPT
from dask_runner.mpi import families
from dask_runner.wire.message import Message, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from dask_runner.hub.members import Member, Node
    from dask_runner.hub.report import Reporter
    from dask_runner.launch.plan import Plan
    from dask_runner.launch.settings import Settings
    from dask_runner.launch.world import World
    from dask_runner.meeting.notice import Notice
    from dask_runner.wire.channel import Channel


class Cluster:
    """One cluster: takes each message of a rank to the one who decides.

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
    told : mapping, optional
        What rank 0 was told that has to be alike in all ranks.

    Attributes
    ----------
    shared : SharedState
        What those who decide share.
    scaling : Scaling
        Decides how many workers there are.
    logs : Logs
        Shows the logs of the ranks to who follows them.
    joins : Joins
        Lets other launches join, and sees them off.
    answers : Answers
        Answers processes outside the launch.
    telling : Telling
        Tells what the run used.
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
        told: Mapping[str, str] | None = None,
    ) -> None:
        self._world = world
        self._told = told or {}
        self._plan = plan
        self._settings = settings
        self._report = report
        self._roster = Roster(world.size, plan.workers)
        self.telling = Telling(
            History(world, settings.layout), self._roster, plan, settings, report
        )
        self._ending = Ending(
            self._roster,
            plan.client,
            settings,
            report,
            ends_at,
            self.telling,
            notices=notices,
        )
        self._mpi_families: dict[str, Member] = {}
        self._spares = Spares(settings.spare, world, plan, self._roster)
        scheduler = m.SchedulerUp(scheduler_address)
        self._assembly = Assembly(
            self._roster,
            plan,
            settings,
            report,
            self._ending,
            self._spares,
            scheduler if plan.scheduler is None else None,
        )
        self.shared = shared = SharedState(
            plan,
            settings,
            report,
            self._roster,
            self._spares,
            self._assembly,
            self._ending,
            AddedPackages(settings.packages, self._roster, report, self._ending),
            self.telling.history,
        )
        self.scaling = Scaling(shared)
        jobs = BatchJobs()
        self.joins = Joins(shared, self.scaling, jobs)
        self._survival = Survival(shared, self.scaling, self.joins)
        self._activity = Activity(self._roster, plan.scheduler)
        self.logs = Logs(shared)
        self.answers = Answers(
            shared, self._activity, self.scaling, self.joins, jobs, self.logs, ends_at
        )
        self._noted: set[str] = set()
        self._has_read = False
        self._of_nodes: Mapping[type[Message], Callable[[Node, Any], None]] = {
            m.Told: self._on_told,
            m.Hello: self._on_hello,
            m.Gone: self._on_gone,
            m.Absent: self._survival.absent,
            m.Signalled: self._on_signalled_before,
            m.Bye: self._on_bye,
            m.Ping: self._on_ping,
            m.Usage: self.telling.history.uses,
        }
        self._of_ranks: Mapping[type[Message], Callable[[Member, Any], None]] = {
            m.SchedulerUp: self._on_scheduler_up,
            m.Given: self._on_given,
            m.WorkersUp: self._on_workers_up,
            m.WorkerDied: self._on_worker_died,
            m.WorkerDown: self._survival.worker_down,
            m.WorkerBack: self._survival.worker_back,
            m.WorkerLeft: self._survival.worker_left,
            m.WorkerUp: self._survival.worker_up,
            m.WorkerNotUp: self._survival.worker_not_up,
            m.Staying: self._on_staying,
            m.AgentGone: self._survival.agent_gone,
            m.ClientEnded: self._on_client_ended,
            m.SchedulerClosed: self._on_scheduler_closed,
            m.Activity: self._on_activity,
            m.Work: self._on_work,
            m.Lines: self._on_lines,
            m.Failed: self._on_failed,
            m.Note: self._on_note,
            m.Signalled: self._on_signalled,
        }
        Deadline(shared, self._survival)

    # --- nodes and their ranks come and go ----------------------------------

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes that are connected."""
        return tuple(self._roster.nodes)

    @property
    def members(self) -> tuple[Member, ...]:
        """The ranks that have joined."""
        return self._roster.members

    @property
    def size(self) -> int:
        """The number of ranks in the launch."""
        return self._world.size

    @property
    def arrived(self) -> frozenset[int]:
        """The ranks that have arrived, or have left a notice that they will not."""
        own = self._roster.own
        return frozenset(own.arrived | own.not_awaited)

    @property
    def assembled(self) -> bool:
        """Whether every rank has arrived."""
        return self._roster.own.assembled

    @property
    def may_come(self) -> bool:
        """Whether ranks are still expected."""
        return not self.assembled and self._ending.seconds < self._settings.timeout

    def connect(self, hello: m.NodeHello, channel: Channel) -> Node:
        """Add a node."""
        node = self._roster.connect(hello.name, channel, self._roster.own)
        self.telling.history.came(node)
        if self._over:
            channel.send(m.Close(self._ending.status or 0))
        return node

    def _on_hello(self, node: Node, hello: m.Hello) -> None:
        if not node.group.may_join(hello.rank):
            which = node.group.name_of(hello.rank)
            self._report.warn(f"a second {which} on {node.name}, refused")
            node.refused.add(hello.rank)
            node.channel.send(m.Refused(hello.rank))
            return
        member = self._roster.add(node, hello)
        if self._over:
            self._ending.turn_away(member)
        elif member.join:
            self.joins.arrived(member)
        else:  # a join's tasks are no part of this launch's MPI
            self._compare_mpi(member)
        self.shared.packages.joined(member)
        self._survival.replacement.joined(member)
        self._assembly.joined(node.host)

    def _on_told(self, node: Node, message: m.Told) -> None:
        """End a launch whose ranks were told what cannot be."""
        if self._over:
            return
        try:
            agreed.refuse_others(node.name, message.choices, self._told)
        except ConfigError as error:
            self.fail(error)

    def _compare_mpi(self, newest: Member) -> None:
        """End a job whose ranks would load MPIs of two families."""
        family = families.of(newest.hello.mpi)
        if not family or self._mpi_families.setdefault(family, newest) is not newest:
            return
        try:
            own = (one for one in self._roster.members if not one.join)
            libraries = {one.rank: one.hello.mpi for one in own}
            families.refuse_two(libraries)
        except ConfigError as error:
            self.fail(error)

    def hear(self, node: Node, message: Message) -> None:
        """Act on a node's message.

        Raises
        ------
        ProtocolError
            If a node sends no such message, or if it is about another node's rank.
        """
        node.heard = time.monotonic()
        if isinstance(message, m.OfRank):
            self._hear_of(node, message.rank, message.message)
        elif act := self._of_nodes.get(type(message)):
            act(node, message)
        else:
            raise ProtocolError(f"{message!r:.80}, which no node sends")

    def _hear_of(self, node: Node, rank: int, message: Message) -> None:
        act = self._of_ranks.get(type(message))
        if act is None:
            raise ProtocolError(f"{message!r:.80}, which no rank sends")
        if rank in node.members:
            act(node.members[rank], message)
        elif rank not in node.refused:
            raise ProtocolError(f"{message!r:.80} of rank {rank}, which is another's")

    def read(self, notice: Notice, signed: Iterable[int]) -> None:
        """Act on a rank's notice that it cannot join; the ranks that read it end."""
        self._has_read = True
        if self._roster.own.may_join(notice.rank):
            self._ending.over(notice)
        for rank in signed:
            self._roster.stop_waiting_for(rank)
        self._ending.changed()

    def signalled(self, error: SignalledError, ranks: Iterable[int]) -> None:
        """End because of a signal that came before these ranks were connected."""
        for rank in ranks:
            self._roster.stop_waiting_for(rank)
        self._ending.asked_to_end(error)

    @property
    def cause(self) -> RunnerError | None:
        """Why the cluster has ended, if ranks may still come that do not know it."""
        due = self._has_read or self.may_come
        return self._ending.cause if due and self._ending.leaves_notice else None

    def gone(self, node: Node, why: str) -> None:
        """Act on the loss of a node, and of all its ranks with it."""
        self._survival.lost_node(node, why)

    def _on_gone(self, node: Node, message: m.Gone) -> None:
        member = node.members.get(message.rank)
        if member is None:
            raise ProtocolError(f"the loss of rank {message.rank}, which is another's")
        self._survival.lost_rank(member, message.why)

    @property
    def _serves(self) -> bool:
        return self._plan.client is None

    # --- what the ranks say -------------------------------------------------

    def _on_scheduler_up(self, member: Member, message: m.SchedulerUp) -> None:
        if self._has(member, self._plan.scheduler):
            self._assembly.scheduler_up(message)
            if self._settings.min_workers is not None:
                later(NEIGHBOURS_SECONDS, self._survival.replacement.choose)

    def _has(self, member: Member, rank: int | None) -> bool:
        """Return whether a rank is the one of that number in the own launch."""
        return member is self._roster.member(rank)

    def _on_given(self, member: Member, message: m.Given) -> None:
        if self._has(member, self._plan.scheduler):
            self._report.given = message

    def _on_workers_up(self, member: Member, message: m.WorkersUp) -> None:
        self._roster.workers_up(member, message)
        self._survival.workers_up(member)
        planned = len(self._plan.workers) - self._spares.ranks
        self._report.progress(planned - len(self._roster.missing), planned)
        self._assembly.advance(member.node.host)

    def _on_worker_died(self, member: Member, message: m.WorkerDied) -> None:
        if not self._over:
            self._report.warn(
                f"worker {message.name} of {member.name} {message.how}; it is started "
                "again"
            )
        self._survival.worker_down(member, message)

    def _on_staying(self, member: Member, message: m.Staying) -> None:
        del member
        self.scaling.staying(message)

    def _on_client_ended(self, member: Member, message: m.ClientEnded) -> None:
        if self._has(member, self._plan.client):
            self._survival.tell()
            self._ending.client_ended(message)

    def _on_scheduler_closed(self, member: Member, message: m.SchedulerClosed) -> None:
        """Report why the scheduler has ended; a script goes on."""
        del member
        if not self._over:
            self._report.note(message.why)
        if self._serves:
            self.close(0)

    def _on_activity(self, member: Member, message: m.Activity) -> None:
        del member
        self._activity.heard(message)

    def _on_work(self, member: Member, message: m.Work) -> None:
        del member
        self.telling.heard(message)

    def _on_lines(self, member: Member, message: m.Lines) -> None:
        del member
        self.logs.heard(message)

    def _on_failed(self, member: Member, message: m.Failed) -> None:
        error = RunnerError(message.saw, message.needed, message.do)
        error.status = message.status
        self._survival.failed(member, error)

    def _on_note(self, member: Member, message: m.Note) -> None:
        # Many ranks may send the same note; it is printed once.
        if message.text not in self._noted:
            self._noted.add(message.text)
            self._report.note(f"{member.name}: {message.text}")

    def _on_bye(self, node: Node, message: m.Bye) -> None:
        del message
        self._roster.staying.discard(node)
        self._ending.changed()
        self.joins.changed(node.group)

    def _on_ping(self, node: Node, message: m.Ping) -> None:
        """Do nothing: the time of every message is noted elsewhere."""

    def _on_signalled(self, member: Member, message: m.Signalled) -> None:
        if member.join:
            self.joins.signalled(member.node.group, member.rank, message.number)
        else:
            self._ending.signalled(member.rank, member.name, message.number)

    def _on_signalled_before(self, node: Node, message: m.Signalled) -> None:
        """Act on a signal to a rank that has not joined, which its leader reports."""
        rank = message.rank
        if node.group is not self._roster.own:
            self.joins.signalled(node.group, rank, message.number)
            return
        member = self._roster.member(rank)
        if member is not None and member.node.name != node.name:
            raise ProtocolError(f"a signal to rank {rank}, which is another's")
        if message.number not in FOR_THE_SCRIPT and node.group.may_join(rank):
            self._roster.stop_waiting_for(
                rank
            )  # it ends now, by itself or by its leader
        name = f"rank {rank} on {node.name}"
        self._ending.signalled(rank, name, message.number)

    # --- the end ------------------------------------------------------------

    @property
    def queues_again(self) -> bool:
        """Whether the cluster has ended in order to be queued again."""
        return self._ending.queues_again

    @property
    def _over(self) -> bool:
        return self._ending.status is not None

    def fail(self, error: RunnerError) -> None:
        """Print an error, and end the cluster because of it."""
        self._survival.fail(error)

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
