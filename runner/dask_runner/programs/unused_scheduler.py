"""How a scheduler that nobody uses ends by itself, and what it says of its use."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from distributed.diagnostics.plugin import SchedulerPlugin

from dask_runner.hub import messages as m

if TYPE_CHECKING:
    import distributed

#: Dask's name of a client that holds futures which nobody waits for.
_NOBODY = "fire-and-forget"
#: How the names of clients begin that tasks have made on workers.
_OF_TASKS = "Client-worker-"
#: The reason for its end where no client has been connected for a time.
NO_CLIENT = "no-client-timeout-exceeded"
#: Dask's reason where no task has run for a time.
IDLE = "idle-timeout-exceeded"


def is_users(client: str) -> bool:
    """Return whether a client of that name is a program of the user's."""
    return client != _NOBODY and not client.startswith(_OF_TASKS)


def activity(scheduler: distributed.Scheduler) -> m.Activity:
    """Return what the scheduler does now."""
    since = scheduler.check_idle()
    idle = max(0.0, time.time() - since) if since else 0.0
    return m.Activity(sum(map(is_users, scheduler.clients)), idle)


class NoClient(SchedulerPlugin):  # type: ignore[misc]  # Dask has no types
    """Ends the scheduler when no client has been connected for a time.

    Parameters
    ----------
    scheduler : Scheduler
    seconds : float
    """

    def __init__(self, scheduler: distributed.Scheduler, seconds: float) -> None:
        self._scheduler = scheduler
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        self._look()

    def add_client(self, scheduler: Any, client: str) -> None:
        """Wait for its end; Dask calls this."""
        del scheduler
        if is_users(client) and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def remove_client(self, scheduler: Any, client: str) -> None:
        """Begin to wait for another, if it was the last; Dask calls this."""
        del scheduler
        # Dask removes it from its table when the plugins have been told.
        self._look(but=client)

    def _look(self, but: str = "") -> None:
        there = (one for one in self._scheduler.clients if one != but)
        if self._timer is None and not any(map(is_users, there)):
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._seconds, self._end)

    def _end(self) -> None:
        self._ending = asyncio.ensure_future(self._scheduler.close(reason=NO_CLIENT))
