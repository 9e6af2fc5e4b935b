"""The end of a rank that has not joined: who tells the other ranks and the user.

After a rank has joined, the hub tells all ranks and the user. Before that, the rank
tells the leader of its node; without a leader it leaves a notice for the ranks that
look for the record (:mod:`dask_runner.meeting.notice`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_runner.errors import AssemblyError, LostError, RunnerError, SignalledError
from dask_runner.hub import messages as m
from dask_runner.hub.losses import never_came
from dask_runner.hub.report import say
from dask_runner.launch.plan import Role
from dask_runner.launch.slurm import ranks_here
from dask_runner.meeting.notice import Notice, OverError
from dask_runner.node.events import Source

if TYPE_CHECKING:
    from dask_runner.hub.cluster import Cluster
    from dask_runner.hub.server import Hub
    from dask_runner.launch.launch import Launch
    from dask_runner.node import messages as n
    from dask_runner.node.background import Tasks
    from dask_runner.node.contact import RankContact
    from dask_runner.node.events import Event
    from dask_runner.node.exits import Ended
    from dask_runner.node.launcher_child import Launched

#: Seconds that a rank that has to end waits for the hub, to report its end there.
WAIT_FOR_HUB_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Unheard:
    """The hub was not found in time to hear that a rank ends."""

    error: RunnerError
    rank: int


class EarlyEnd:
    """The end of one rank that is not connected to the hub.

    Parameters
    ----------
    launch : Launch
    node : str
        The name of its node.
    contact : RankContact
    launched : Launched
        The process that the launcher started for the rank.
    events : asyncio.Queue
        Gets ``(Source.early_end, Unheard)``.
    tasks : Tasks
        Runs what takes time.

    """

    def __init__(
        self,
        launch: Launch,
        node: str,
        contact: RankContact,
        launched: Launched,
        events: asyncio.Queue[Event],
        tasks: Tasks,
    ) -> None:
        self._launch = launch
        self._rank = launch.world.rank
        self._node = node
        self._contact = contact
        self._launched = launched
        self._events = events
        self._tasks = tasks
        self._gave_up = False
        self._signs_late = False
        #: The rank that leads the node, and does not play for this one; -1 if unknown.
        self._leader = -1

    # --- what ends the rank; each returns its exit status, or None ----------

    def by_signal(self, message: m.Signalled, hub: Hub | None) -> int | None:
        """End by a signal that cannot be reported to the hub."""
        error = self.signalled(message)
        rank = message.rank if message.rank >= 0 else self._rank
        if hub is not None and self._contact.published:
            hub.cluster.signalled(error, {0, rank})
            return error.status
        if rank == self._rank and self._launched.signalled(message.number):
            return error.status  # the leader tells the others
        if self._contact.is_near:
            said = m.Signalled(message.number, rank)
            self._tasks.start(self.soon(error, rank, said))
            return None
        return self.now(error, rank)

    def without_hub(
        self, error: RunnerError, unfit: RunnerError | None, hub: Hub | None
    ) -> int | None:
        """End because the hub cannot be found, or because the rank is *unfit*."""
        if self._contact.has_met:
            return None  # the hub has been found after all
        error = unfit or error
        if error is unfit or isinstance(error, OverError):
            return self.now(error)
        self._contact.found(error)
        # Rank 0 runs into all other errors too, and prints them.
        if error.printed:
            return error.status  # the leader of the node has the same error
        error.printed = True
        if hub is not None:
            hub.cluster.fail(error)
        elif self._launch.joins:
            # A home directory may be another on each node.
            if self._local_rank in (0, None):
                say(f"error: {error}")
        elif isinstance(error, AssemblyError) and self._speaks:
            say(f"error: {error}")
        elif isinstance(error, LostError) and self._local_rank in (0, None):
            # Only this node sees it: the launcher's process here is gone.
            say(f"error: {error}")
        return error.status

    @property
    def _local_rank(self) -> int | None:
        return self._launch.world.local_rank

    @property
    def _speaks(self) -> bool:
        # All other ranks miss rank 0 alike, so one of them prints it. A rank that found
        # a record, and cannot reach the hub, prints that as well.
        return self._rank == 1 or "that does not answer" in self._contact.trouble

    def has_leader(self, message: n.Leads) -> None:
        """Note which rank leads the node, and does not play for this one."""
        self._leader = message.rank

    def with_leader(self, message: m.Close) -> int | None:
        """End as the leader of the node does."""
        if self._contact.has_met:
            return None
        # The leader knows how the cluster ended, or has reported its own error.
        self._contact.notices.sign([self._rank])
        return message.status

    def without_leader(self, ended: Ended) -> int | None:
        """Report that the leader has died, if it never joined."""
        del ended
        world = self._launch.world
        here = ranks_here(self._launch.environ) if world.launcher == "slurm" else ()
        # Ranks of a node are numbered in order, so rank 0 is on this node.
        if self._leader < 0 and self._rank == self._local_rank:
            self._leader = 0
        if self._leader < 0 and here:
            self._leader = here[0]
        if self._leader or self._contact.has_met or self._launch.joins:
            self.of_another(m.Absent(self._leader, "died before it joined"))
            return None
        error = AssemblyError(
            f"rank 0 on {self._node} died before the ranks had met",
            f"all {world.size} ranks",
            "look above, and in the accounting of the launcher, for what ended it",
        )
        if self._contact.notices.possible or self._local_rank == 1:
            self.now(error, 0)
            # The node's other ranks see by themselves that the leader is dead.
            self._contact.notices.sign(here)
        return error.status

    def without_rank_0(self) -> None:
        """Note that rank 0 died after this rank had joined, before the start.

        This rank needs no notice. But one of rank 0's node that had not joined yet may
        leave one, when it has found that out, and waits until all have signed it.
        """
        self._signs_late = True

    def unheard(self, unheard: Unheard) -> int | None:
        """End without the hub, which was not found in time."""
        if self._contact.has_met:
            return None
        return self.now(unheard.error, unheard.rank)

    # --- what others learn of it --------------------------------------------

    def give_up_soon(self, error: RunnerError) -> None:
        """Leave a notice for the other ranks, if the hub is not found in a moment."""
        if self._rank and self._contact.notices.possible and self.is_missed(self._rank):
            self._tasks.start(self.soon(error, self._rank))

    def of_another(self, message: m.Absent) -> None:
        """Report another rank of the node that will not join."""
        self._contact.report_another(message)
        rank = message.rank
        notices = self._contact.notices.possible and not self._contact.has_met
        if notices and rank >= 0 and self.is_missed(rank):
            error = never_came(message, self._node, self._launch.world.size)
            self._tasks.start(self.soon(error, rank))

    def signalled(self, message: m.Signalled) -> SignalledError:
        """Return the error about a signal to this rank, or to another of its node."""
        rank = message.rank if message.rank >= 0 else self._rank
        name = f"rank {rank} on {self._node}"
        return SignalledError(name, message.number, "before the ranks had met")

    async def soon(
        self, error: RunnerError, rank: int, message: m.Signalled | None = None
    ) -> None:
        """Report the end of a rank to the hub, or end without it after a while.

        Parameters
        ----------
        error : RunnerError
        rank : int
            The rank that ends: this one, or another of its node.
        message : Signalled, optional
            The message for the hub; None if the hub hears of it in another way.
        """
        try:
            async with asyncio.timeout(WAIT_FOR_HUB_SECONDS):
                await self._contact.made()
        except TimeoutError:
            await self._events.put((Source.early_end, Unheard(error, rank)))
        except RunnerError:
            return  # which is an event of its own
        else:
            if message is not None:
                self._contact.report_another(message)

    def now(self, error: RunnerError, rank: int | None = None) -> int:
        """End this rank because of an error of its own, or of another of its node.

        Returns
        -------
        int
            The exit status.
        """
        self._gave_up = True
        if self._is_to_say(error, self._rank if rank is None else rank):
            say(error if isinstance(error, SignalledError) else f"error: {error}")
        return error.status

    def _is_to_say(self, error: RunnerError, rank: int) -> bool:
        """Tell the other ranks; return whether this one prints the error."""
        contact = self._contact
        if contact.has_met:
            return True
        if isinstance(error, OverError):
            contact.found(error)
            contact.notices.sign([self._rank])
            return not error.notice.said and self._rank == 0
        notice = self._notice(error, rank)
        contact.found(OverError(notice))
        asked = isinstance(error, SignalledError)
        if rank == self._rank and not asked and self._launched.fail(error):
            return False
        if not (asked or self.is_missed(rank)):
            return True
        first = contact.notices.leave(notice, [self._rank])
        if first is not None:
            contact.drop_unsent()
            return first
        # Where a launcher ends all ranks when one fails, it signals them as well.
        return not asked

    def is_missed(self, rank: int) -> bool:
        """Return whether no cluster can begin without a rank."""
        if self._launch.joins:
            return False
        roles = self._launch.plan.roles(rank)
        needs_all = self._launch.settings.needs_all_ranks
        return rank == 0 or needs_all or roles != {Role.worker}

    def _notice(self, error: RunnerError, rank: int) -> Notice:
        launch = self._launch
        timeout = launch.settings.timeout
        return Notice.of(error, launch.world.key, rank, self._node, timeout)

    def leave_behind(self, cluster: Cluster) -> None:
        """Leave a notice of the cluster's end for ranks that come later (rank 0)."""
        if (cause := cluster.cause) is not None:
            notice = self._notice(cause, self._rank)
            self._contact.notices.leave(notice, cluster.arrived)

    async def over(self) -> None:
        """Wait a moment for a notice to sign, or for others to sign this one."""
        if self._signs_late:
            await self._contact.notices.comes()
            self._contact.notices.sign([self._rank])
        if self._gave_up:
            await self._contact.notices.taken()
