"""What the cluster has lost, and whether it goes on without it.

It is long because each kind of loss ends with the same question: a spare rank, fewer
workers, or the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_runner.errors import AssemblyError, LostError, RunnerError
from dask_runner.hub import messages as m
from dask_runner.hub.losses import Losses, never_came
from dask_runner.hub.members import Stay
from dask_runner.hub.replacement import Replacement
from dask_runner.hub.spares import Vacancy
from dask_runner.hub.workforce import Workforce

if TYPE_CHECKING:
    from dask_runner.hub.joins import Joins
    from dask_runner.hub.members import Group, Member, Node
    from dask_runner.hub.scaling import Scaling
    from dask_runner.hub.shared_state import SharedState


class Survival:
    """Decides what follows from a loss.

    Parameters
    ----------
    shared : SharedState
    scaling : Scaling
        Starts workers again that were retired.
    joins : Joins
        Dismisses ranks of joins.

    Attributes
    ----------
    replacement : Replacement
        Starts spare ranks in the place of lost ones.
    """

    def __init__(self, shared: SharedState, scaling: Scaling, joins: Joins) -> None:
        self._scaling = scaling
        self._joins = joins
        self._dismissed: set[Member] = set()
        self._shared = shared
        self._roster = shared.roster
        self._losses = Losses(shared.report, shared.history)
        self._workforce = Workforce(shared.roster, shared.settings.timeout, self.fail)
        self.replacement = Replacement(
            shared, self._losses, self._unfilled, self.give_up_if_late, self.fail
        )

    # --- ranks --------------------------------------------------------------

    def lost_node(self, node: Node, why: str) -> None:
        """Act on the loss of a node, and of all its ranks with it."""
        self._shared.history.went(node, why)
        members = list(node.members.values())
        workers = self._remove(members)
        self._roster.disconnect(node)
        self._shared.ending.changed()
        self._lose(members, workers, why)
        self._joins.changed(node.group)

    def lost_rank(self, member: Member, why: str) -> None:
        """Act on the loss of one rank of a node."""
        workers = self._remove([member])
        self._shared.ending.changed()
        self._lose([member], workers, why)
        self._joins.changed(member.node.group)

    def _remove(self, members: list[Member]) -> list[str]:
        """Remove ranks from the roster; return the names of their workers."""
        workers = [name for member in members for name in member.workers]
        for member in members:
            self._roster.remove(member)
            self._workforce.forget(member)
            self._scaling.forget(member)
        return workers

    def _lose(self, members: list[Member], workers: list[str], why: str) -> None:
        members = [one for one in members if not self._was_to_go(one)]
        if self._over or not members:
            return
        ranks = {one.rank: one for one in members if not one.join}
        client, scheduler = self._shared.plan.client, self._shared.plan.scheduler
        if client in ranks:
            name = ranks[client].name
            self.fail(LostError(f"{name} with the client was lost: {why}"))
        elif scheduler in ranks and self._shared.assembly.scheduler:
            name = ranks[scheduler].name
            self.fail(LostError(f"{name} with the scheduler was lost: {why}"))
        else:
            for member in members:
                self._add_loss(member, why)
            zero = self._roster.member(scheduler)
            if zero is not None and workers:
                zero.tell(m.WorkersLost(workers))
            for member in members:
                error = AssemblyError(
                    f"{member.name} failed before the cluster was ready",
                    f"all {self._roster.own.size} ranks",
                    "correct that, or begin with fewer by --min-workers",
                )
                self._without(member, why, error)

    def _was_to_go(self, member: Member) -> bool:
        return member.node.group.stay is Stay.left or member in self._dismissed

    def failed(self, member: Member, error: RunnerError) -> None:
        """Act on a rank that cannot do its part."""
        if self._is_needed(member.node.group, member.rank):
            self.fail(_of(member, error))
        elif not self._over:
            self._add_loss(member, error)
            self._without(member, error, _of(member, error))
            self._dismiss(member, error)

    def _dismiss(self, member: Member, error: RunnerError) -> None:
        """Have a rank of a join end, with the status of its error."""
        if member.join:
            self._dismissed.add(member)
            self._joins.failed(member, error)

    def absent(self, node: Node, message: m.Absent) -> None:
        """Act on the loss of a rank that never joined, which a node of its host saw."""
        rank, host = message.rank, node.name
        noted = self._roster.note_absent(rank, node)
        if self._over:
            self._shared.ending.changed()  # the end does not wait for this rank
            return
        if not noted:
            return
        what, size = message.on(host), self._roster.own.size
        error = never_came(message, host, size)
        if self._is_needed(node.group, rank):
            self.fail(error)
        elif rank < 0:
            self._shared.report.warn(f"lost {what}")
        elif node.group is not self._roster.own:
            self._losses.note(rank, node, f"it {message.saw}")
        else:
            self._losses.note(rank, node, f"it {message.saw}")
            self._shared.spares.note(rank, host)
            self.replacement.look_for_spare(Vacancy(rank, what, error))
            self.replacement.choose_when_assembled()

    def agent_gone(self, member: Member, message: m.AgentGone) -> None:
        """Go on without the workers of a rank, which its agent had started."""
        if self._over:
            return
        why = LostError(
            f"its node agent {message.how}",
            "an agent for as long as the script runs",
            "look for what ended it: the node's memory, another program",
        )
        if not member.join and self._needs_workers_of(member.rank):
            self.fail(_of(member, why))
        else:
            self._add_loss(member, why.saw)
            self._without(member, why, _of(member, why))
            self._dismiss(member, why)

    def give_up_if_late(self, member: Member) -> None:
        """Go on without a rank whose workers have not started in time."""
        there = self._roster.member(member.rank) is member
        if self._over or not there or member.rank not in self._roster.missing:
            return
        why = AssemblyError(
            f"its workers did not come up within {self._shared.settings.timeout:g} s",
            "workers that start in time",
            "look into the node's log, or give more time with --timeout",
        )
        self._add_loss(member, why.saw)
        self._without(member, why, _of(member, why))

    # --- workers ------------------------------------------------------------

    def workers_up(self, member: Member) -> None:
        """Note that all workers of a rank are there."""
        self._workforce.forget(member)
        self._joins.workers_up(member)
        placed = not member.join and self._shared.spares.has_placed(member.rank)
        if placed and self._shared.assembly.ready:
            self._scaling.restore()

    def worker_down(self, member: Member, message: m.WorkerDied | m.WorkerDown) -> None:
        """Note that a worker is not there, and why."""
        if not self._over:
            where = member.node.name
            again = "started again"
            self._shared.history.loses(
                "worker", message.name, where, message.how, again
            )
        self._workforce.down(member, message)
        self._look_for_workers()

    def worker_back(self, member: Member, message: m.WorkerBack) -> None:
        """Note that it is there again."""
        self._workforce.back(member, message.name)
        self._look_for_workers()

    def worker_left(self, member: Member, message: m.WorkerLeft) -> None:
        """Note that a worker has been retired."""
        self._workforce.left(member, message.name)
        self._scaling.left(message.name)
        self._look_for_workers()
        self._joins.changed(member.node.group)

    def worker_up(self, member: Member, message: m.WorkerUp) -> None:
        """Note that a worker that was retired has been started again."""
        self._workforce.back(member, message.name)
        self._scaling.up(member, message.name)
        self._look_for_workers()

    def worker_not_up(self, member: Member, message: m.WorkerNotUp) -> None:
        """Note that a worker that was retired could not be started again."""
        self._workforce.back(member, message.name)
        self._scaling.not_up(message.name)
        if not self._over:
            self._shared.report.warn(f"{member.name}: {message.saw}")
            self._go_on(message.saw)

    def _look_for_workers(self) -> None:
        if self._shared.assembly.ready and not self._over:
            self._workforce.look()

    def _add_loss(self, member: Member, why: object) -> None:
        waits = not member.join and self._shared.spares.waits(member.rank)
        self._losses.add(member, why, spare=waits)

    # --- whether the cluster goes on ----------------------------------------

    def _without(self, member: Member, why: object, error: RunnerError) -> None:
        """Go on without a rank's workers, or with those of a spare rank."""
        self._roster.give_up(member)
        self._workforce.forget(member)
        self._scaling.forget(member)
        what = f"{member.name} was lost: {_saw(why)}"
        if member.join:
            self._go_on(what)
        else:
            self.replacement.look_for_spare(Vacancy(member.rank, what, error))

    def _unfilled(self, vacancy: Vacancy) -> None:
        """Go on without a lost rank, as no spare one can take its place."""
        if self.needs_all:
            self.fail(vacancy.error)
        else:
            self._go_on(vacancy.what)

    def _go_on(self, what: str) -> None:
        """Go on, though a rank is lost, if there are enough workers left."""
        roster, assembly = self._roster, self._shared.assembly
        needed = self._scaling.least
        few = roster.registered < needed and not roster.missing
        if few and not self._scaling.make_up(needed):
            # Before the cluster was ready they never came; later they were lost.
            kind = LostError if assembly.ready else AssemblyError
            left = f"only {roster.registered}" if roster.registered else "none"
            self.fail(
                kind(
                    f"of all workers {left} is left, as {what}",
                    f"{needed} (--min-workers)" if needed > 1 else "one worker",
                    "look for what ended it: other messages above, the node's memory",
                )
            )
        else:
            assembly.advance()
            self._look_for_workers()

    def _is_needed(self, group: Group, rank: int) -> bool:
        """Whether the cluster cannot be without that rank."""
        if group is not self._roster.own:
            return False
        plan = self._shared.plan
        return rank in {plan.scheduler, plan.client} or self._needs_workers_of(rank)

    def _needs_workers_of(self, rank: int) -> bool:
        """Whether the cluster cannot begin without the workers of a rank of its own."""
        return self.needs_all and not self._shared.spares.can_replace(rank)

    @property
    def needs_all(self) -> bool:
        """Whether the cluster cannot begin without each of its ranks."""
        fewer_will_do = self._shared.settings.min_workers is not None
        return not self._shared.assembly.ready and not fewer_will_do

    @property
    def _over(self) -> bool:
        return self._shared.ending.status is not None

    def tell(self) -> None:
        """Print what has been lost and was not printed yet."""
        self._losses.tell()

    def fail(self, error: RunnerError) -> None:
        """Print an error, and end the cluster because of it."""
        self._losses.tell()
        self._shared.ending.fail(error)


def _of(member: Member, error: RunnerError) -> RunnerError:
    """Return an error with the name of its rank."""
    named = RunnerError(f"{member.name}: {error.saw}", error.needed, error.do)
    named.status = error.status
    return named


def _saw(why: object) -> str:
    return why.saw if isinstance(why, RunnerError) else str(why)
