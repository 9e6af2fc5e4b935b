"""A nanny that reports what happens to its worker."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from distributed import Nanny, Status

from dask_runner.hub import messages as m
from dask_runner.node import messages as n
from dask_runner.node.exits import UNKNOWN, Ended, Kills
from dask_runner.node.system_errors import root
from dask_runner.resources.amounts import in_words

if TYPE_CHECKING:
    from collections.abc import Callable

    from distributed.process import AsyncProcess

    from dask_runner.wire.message import Message

_ENDING = (Status.closing, Status.closed, Status.closing_gracefully)

#: Seconds that a restarted worker has to live before it counts as stable.
STABLE_SECONDS = 5.0
#: Deaths in a row that are reported to the user, and after which no pause is made.
FAST_RESTARTS = 3
#: Seconds of the pauses before further restarts: the first, and the longest.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 10.0


class WatchedNanny(Nanny):  # type: ignore[misc]  # Dask has no type information
    """Dask's nanny, with a report of each unexpected death of its worker.

    A worker that dies again and again is restarted after growing pauses.

    Parameters
    ----------
    *args, **options
        As for Dask's nanny.
    tell : callable
        Is called with ``WorkerDied``, ``WorkerDown`` and ``WorkerBack``.
    running : callable
        Returns the worker as the process of a number.
    deaths : int
        Deaths of the worker in a row, under earlier nannies.

    Attributes
    ----------
    why : str
        Why this process is about to kill the worker.
    ended : Ended or None
        The last unexpected death of the worker; None if there was none.
    lost : Exception or None
        Why this nanny has ended unexpectedly: it could not restart its worker.
    deaths : int
        Deaths of the worker in a row, until now.
    """

    def __init__(
        self,
        *args: Any,
        tell: Callable[[Message], None],
        running: Callable[[int], n.RunningWorker],
        deaths: int = 0,
        **options: Any,
    ) -> None:
        self._tell = tell
        self._running = running
        self._kills = Kills()
        self.why = ""
        self.ended: Ended | None = None
        self.lost: Exception | None = None
        self.deaths = deaths
        self._asked = False
        self._begun = False
        super().__init__(*args, **options)

    @property
    def killed(self) -> bool:
        """Whether a signal has killed the worker, or may have, or its fork server."""
        how, why = self.ended, self.lost and root(self.lost)
        if isinstance(why, (EOFError, ConnectionError)):
            return True
        return how is not None and (how.status < 0 or not how.known)

    async def instantiate(self) -> Status:
        """Start the worker; pause first if it has died too often."""
        if self.deaths >= FAST_RESTARTS:
            await asyncio.sleep(pause(self.deaths))
            if self.status in _ENDING:
                return self.status
        try:
            status = await super().instantiate()
        except Exception as error:
            self.lost = error
            raise
        if status == Status.running:
            if self._begun or self.deaths:  # else all of the rank's are told at once
                self._tell(n.WorkersRun([self._running(self.worker_pid)]))
            self._begun = True
            loop = asyncio.get_running_loop()
            loop.call_later(STABLE_SECONDS, self._is_stable, self.worker_pid)
        return status

    def _is_stable(self, pid: int) -> None:
        if self.worker_pid == pid and self.deaths:
            self.deaths = 0
            self._tell(m.WorkerBack(str(self.name)))

    @property
    def worker(self) -> AsyncProcess | None:
        """The worker's process, started or about to start; None if there is none."""
        return self.process and self.process.process

    @property
    def worker_pid(self) -> int:
        """The worker's process ID; 0 if there is none."""
        return int((self.worker and self.worker.pid) or 0)

    async def kill(self, *args: Any, **how: Any) -> None:
        """End the worker on request, such as by ``client.restart()``."""
        self._asked = True
        try:
            await super().kill(*args, **how)
        finally:
            self._asked = False

    def close_gracefully(self, *args: Any, **how: Any) -> None:
        """Note that the worker closes; its process ends as soon as it has."""
        super().close_gracefully(*args, **how)
        if self.process is not None:
            # The process would wait for this word for two seconds. ValueError: it has
            # got it already.
            with suppress(ValueError):
                self.process.child_stop_q.put({"op": "stop"})

    def log_event(self, topic: Any, msg: Any) -> None:
        """Log an event; note the one by which Dask kills a worker for its memory."""
        if topic == "worker-restart-memory":
            used, limit = in_words(msg["rss"]), self.memory_manager.memory_limit
            self.why = (
                f"it used {used} of its {in_words(int(limit))}; you can: give it more "
                "memory (fewer workers a node), or smaller chunks"
            )
            self._tell(n.WorkerHad(str(self.name), int(msg["rss"])))
        super().log_event(topic, msg)

    def _on_worker_exit_sync(self, exitcode: int) -> None:
        try:
            if self.status not in _ENDING and not self._asked:
                self._note(exitcode)
        finally:
            # In any case, Dask's nanny restarts the worker.
            super()._on_worker_exit_sync(exitcode)

    def _note(self, exitcode: int) -> None:
        why = self.why or self._kills.why(exitcode)
        self.why = ""
        self.ended = Ended(exitcode, why, known=exitcode != UNKNOWN)
        self.deaths += 1
        # A worker with status 0 was told to end, by the scheduler or by its task. The
        # creator of this nanny reports a worker that has not started.
        aloud = exitcode != 0 and self.deaths <= FAST_RESTARTS and self._begun
        kind = m.WorkerDied if aloud else m.WorkerDown
        self._tell(kind(str(self.name), str(self.ended)))


def pause(deaths: int) -> float:
    """Return the seconds to wait before the next restart, after so many deaths."""
    growth = 2 ** max(deaths - FAST_RESTARTS, 0)
    return float(min(FIRST_PAUSE_SECONDS * growth, LONGEST_PAUSE_SECONDS))
