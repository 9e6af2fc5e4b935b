"""Notice when no worker is left, once the script has begun.

A nanny restarts its worker each time it dies. If no worker stays alive, the script
would wait without end.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from dask_runner.errors import LostError
from dask_runner.hub import messages as m

if TYPE_CHECKING:
    from collections.abc import Callable

    from dask_runner.hub.members import Member
    from dask_runner.hub.roster import Roster


class Workforce:
    """The workers that are down, and may come back.

    Parameters
    ----------
    roster : Roster
    patience : float
        Seconds for a worker to come back when all are down.
    fail : callable
        Is called with an error if none has come back.
    """

    def __init__(
        self, roster: Roster, patience: float, fail: Callable[[LostError], None]
    ) -> None:
        self._roster = roster
        self._patience = patience
        self._fail = fail
        self._down: dict[tuple[Member, str], LostError] = {}
        self._alarm: asyncio.TimerHandle | None = None

    def down(self, member: Member, message: m.WorkerDied | m.WorkerDown) -> None:
        """Note that a worker is down, and why."""
        needed, do = "", ""
        if isinstance(message, m.WorkerDown):
            needed, do = message.needed, message.do
        self._down[member, message.name] = LostError(
            f"worker {message.name} of {member.name} {message.how}",
            needed or "a worker that lives",
            do or "look for what ends them: a task, a --preload, a limit of the node",
        )

    def back(self, member: Member, name: str) -> None:
        """Note that a worker is back."""
        self._down.pop((member, name), None)

    def left(self, member: Member, name: str) -> None:
        """Note that a worker has ended for good."""
        self.back(member, name)
        self._roster.worker_left(member, name)

    def forget(self, member: Member) -> None:
        """Remove the workers of a rank: all are back, or the rank is lost."""
        for key in [key for key in self._down if key[0] is member]:
            del self._down[key]

    def look(self) -> None:
        """Start or stop the wait for a worker, by whether any is left."""
        nobody = bool(self._down) and len(self._down) >= self._roster.registered
        if not nobody and self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        elif nobody and self._alarm is None:
            loop = asyncio.get_running_loop()
            self._alarm = loop.call_later(self._patience, self._nobody_comes)

    def _nobody_comes(self) -> None:
        last = list(self._down.values())[-1]
        saw = f"no worker has come to stay for {self._patience:g} s: {last.saw}"
        self._fail(LostError(saw, last.needed, last.do))
