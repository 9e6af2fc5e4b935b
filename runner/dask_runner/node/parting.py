"""The end of a rank that has not joined: who tells the other ranks and the user.

After a rank has joined, the hub tells all ranks and the user. Before that, the rank
tells the leader of its node; without a leader it leaves a notice for the ranks that
look for the record (:mod:`dask_runner.meeting.notice`).
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

#: Seconds that a rank that has to end waits for the hub, to report its end there.
WAIT_FOR_HUB_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Unheard:
    """The hub was not found in time to hear that a rank ends."""

    error: RunnerError
    rank: int


class Parting:
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
            await self._events.put((Source.parting, Unheard(error, rank)))
        except RunnerError:
            return  # which is an event of its own
        else:
            if message is not None:
                self._contact.tell(message)

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
            contact.hush()
            return first
        # Where a launcher ends all ranks when one fails, it signals them as well.
        return not asked

    def is_missed(self, rank: int) -> bool:
        """Return whether no cluster can begin without a rank."""
        fewer_will_do = self._launch.settings.min_workers is not None
        roles = self._launch.plan.roles(rank)
        return rank == 0 or not fewer_will_do or roles != {Role.worker}

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
        """Wait a moment, until the other ranks have read the notice."""
        if self._gave_up:
            await self._contact.notices.taken()
