"""How a rank ends that has not joined: whom it tells, and who tells the user.

The hub would tell all ranks, once. Without it the leader of the rank's node does that,
if there is one that plays its part itself; else a notice for those who look for the
record (:mod:`dask_runner.meeting.notice`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_runner.errors import RunnerError, SignalledError
from dask_runner.hub.report import say
from dask_runner.launch.plan import Role
from dask_runner.meeting.notice import Notice, OverError
from dask_runner.node.events import Source

if TYPE_CHECKING:
    from dask_runner.hub import messages as m
    from dask_runner.hub.cluster import Cluster
    from dask_runner.launch.launch import Launch
    from dask_runner.node.contact import RankContact
    from dask_runner.node.events import Event
    from dask_runner.node.launcher_child import Launched

#: Seconds in which a rank that has to end looks for the hub, to say it there.
SAYS_IT_THERE = 3.0


@dataclass(frozen=True, slots=True)
class Unheard:
    """The hub was not found in time to be told that a rank ends."""

    error: RunnerError
    rank: int


class Parting:
    """The end of one rank, as long as it has no connection.

    Parameters
    ----------
    launch : Launch
    node : str
        The name of its node.
    contact : RankContact
    launched : Launched
        The process that the launcher started for it.
    events : asyncio.Queue
        Gets ``(Source.parting, Unheard)``.
    """

    def __init__(
        self,
        launch: Launch,
        node: str,
        contact: RankContact,
        launched: Launched,
        events: asyncio.Queue[Event],
    ) -> None:
        self._launch = launch
        self._rank = launch.world.rank
        self._node = node
        self._contact = contact
        self._launched = launched
        self._events = events
        self._gave_up = False

    def signalled(self, message: m.Signalled) -> SignalledError:
        """Return what is to be said of a signal to this rank, or one of its node."""
        rank = message.rank if message.rank >= 0 else self._rank
        name = f"rank {rank} on {self._node}"
        return SignalledError(name, message.number, "before the ranks had met")

    async def soon(
        self, error: RunnerError, rank: int, message: m.Signalled | None = None
    ) -> None:
        """Let a rank end in a moment, unless the hub is found.

        Parameters
        ----------
        error : RunnerError
        rank : int
            Whose it is: this one's, or one's of its node.
        message : Signalled, optional
            What the hub is told; otherwise somebody else does that.
        """
        try:
            async with asyncio.timeout(SAYS_IT_THERE):
                await self._contact.made()
        except TimeoutError:
            await self._events.put((Source.parting, Unheard(error, rank)))
        except RunnerError:
            return  # which is an event of its own
        else:
            if message is not None:
                self._contact.tell(message)

    def now(self, error: RunnerError, rank: int | None = None) -> int:
        """Let this rank end because of an error, which may be another's of its node.

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
        """Tell the other ranks; return whether it is this one that tells the user."""
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
            contact.hush()
            return first
        # Where a launcher ends all ranks when one fails, it signals them as well.
        return not asked

    def is_missed(self, rank: int) -> bool:
        """Say whether no cluster can begin without that rank."""
        fewer_will_do = self._launch.settings.min_workers is not None
        roles = self._launch.plan.roles(rank)
        return rank == 0 or not fewer_will_do or roles != {Role.worker}

    def _notice(self, error: RunnerError, rank: int) -> Notice:
        launch = self._launch
        timeout = launch.settings.timeout
        return Notice.of(error, launch.world.key, rank, self._node, timeout)

    def leave_behind(self, cluster: Cluster) -> None:
        """Tell ranks that have not come yet how the cluster has ended (rank 0)."""
        if (cause := cluster.cause) is not None:
            notice = self._notice(cause, self._rank)
            self._contact.notices.leave(notice, cluster.arrived)

    async def over(self) -> None:
        """Wait until the others know of it, where they can, but not long."""
        if self._gave_up:
            await self._contact.notices.taken()
