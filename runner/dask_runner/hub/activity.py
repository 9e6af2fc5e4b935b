"""What the scheduler says of its work, when somebody asks the hub."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from dask_runner.hub import messages as m

if TYPE_CHECKING:
    from dask_runner.hub.roster import Roster

#: Seconds for the scheduler's answer; it is busy while it sends a large graph.
SECONDS = 2.0
#: The scheduler does not say.
UNKNOWN = m.Activity(-1, -1.0)


class Activity:
    """Asks the scheduler, once for all who ask at the same time.

    Parameters
    ----------
    roster : Roster
    rank : int or None
        The rank that has the scheduler.
    """

    def __init__(self, roster: Roster, rank: int | None) -> None:
        self._roster = roster
        self._rank = rank
        self._waiting: asyncio.Future[m.Activity] | None = None

    async def now(self) -> m.Activity:
        """Return the scheduler's answer; :data:`UNKNOWN` if none comes."""
        member = self._roster.member(self._rank)
        if member is None:
            return UNKNOWN
        if self._waiting is None:
            self._waiting = asyncio.get_running_loop().create_future()
            member.tell(m.AskActivity())
        try:
            async with asyncio.timeout(SECONDS):
                return await asyncio.shield(self._waiting)
        except TimeoutError:
            return UNKNOWN

    def heard(self, message: m.Activity) -> None:
        """Note the scheduler's answer."""
        if self._waiting is not None:
            self._waiting.set_result(message)
            self._waiting = None
