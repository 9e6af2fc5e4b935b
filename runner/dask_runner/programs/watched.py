"""A nanny that tells what becomes of its worker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from distributed import Nanny, Status

from dask_runner.hub import messages as m
from dask_runner.node.causes import root
from dask_runner.node.exits import UNKNOWN, Ended, Kills
from dask_runner.resources.amounts import in_words

if TYPE_CHECKING:
    from collections.abc import Callable

    from distributed.process import AsyncProcess

_ENDING = (Status.closing, Status.closed, Status.closing_gracefully)

#: Seconds after which a worker that was started again has come to stay.
STAYS = 5.0
#: Deaths in a row, each before that, that are told to the user and cost no pause.
FAST = 3
#: Seconds before the next try after these: the first pause, and the longest.
PAUSE, LONGEST = 1.0, 10.0


class WatchedNanny(Nanny):  # type: ignore[misc]  # Dask has no type information
    """Dask's nanny, which tells how its worker died where it was not to end.

    One that dies again and again is started again after pauses that grow.

    Parameters
    ----------
    *args, **options
        As for Dask's.
    tell : callable
        Is called with ``WorkerDied``, ``WorkerDown`` and ``WorkerBack``.
    deaths : int
        How often the worker has died in a row, under nannies before this one.

    Attributes
    ----------
    why : str
        Why this process is about to kill the worker.
    ended : Ended or None
        How the worker has died that was not to end; None while none has.
    lost : Exception or None
        Why this nanny has ended, though nobody has asked it to: its worker could not be
        started again.
    deaths : int
        As above, until now.
    """

    def __init__(
        self,
        *args: Any,
        tell: Callable[[m.Message], None],
        deaths: int = 0,
        **options: Any,
    ) -> None:
        self._tell = tell
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
        """Whether the worker has died of a signal, or may have, or who forks it has."""
        how, why = self.ended, self.lost and root(self.lost)
        if isinstance(why, (EOFError, ConnectionError)):
            return True
        return how is not None and (how.status < 0 or not how.known)

    async def instantiate(self) -> Status:
        """Start the worker; after a pause if that is no use."""
        if self.deaths >= FAST:
            await asyncio.sleep(pause(self.deaths))
            if self.status in _ENDING:
                return self.status
        try:
            status = await super().instantiate()
        except Exception as error:
            self.lost = error
            raise
        if status == Status.running:
            self._begun = True
            asyncio.get_running_loop().call_later(STAYS, self._stays, self.worker_pid)
        return status

    def _stays(self, pid: int) -> None:
        if self.worker_pid == pid and self.deaths:
            self.deaths = 0
            self._tell(m.WorkerBack(str(self.name)))

    @property
    def worker(self) -> AsyncProcess | None:
        """The worker's process, started or about to be; None while there is none."""
        return self.process and self.process.process

    @property
    def worker_pid(self) -> int:
        """The worker's process id; 0 while there is none."""
        return int((self.worker and self.worker.pid) or 0)

    async def kill(self, *args: Any, **how: Any) -> None:
        """End the worker because somebody asks for it, as ``client.restart()``."""
        self._asked = True
        try:
            await super().kill(*args, **how)
        finally:
            self._asked = False

    def log_event(self, topic: Any, msg: Any) -> None:
        """Note that the worker is killed for its memory, which Dask makes an event."""
        if topic == "worker-restart-memory":
            used, limit = in_words(msg["rss"]), self.memory_manager.memory_limit
            self.why = (
                f"it used {used} of its {in_words(int(limit))}; you can: give it more "
                "memory (fewer workers a node), or smaller chunks"
            )
        super().log_event(topic, msg)

    def _on_worker_exit_sync(self, exitcode: int) -> None:
        try:
            if self.status not in _ENDING and not self._asked:
                self._note(exitcode)
        finally:
            # Whatever happens here, it is Dask's nanny who starts it again.
            super()._on_worker_exit_sync(exitcode)

    def _note(self, exitcode: int) -> None:
        why = self.why or self._kills.why(exitcode)
        self.why = ""
        self.ended = Ended(exitcode, why, known=exitcode != UNKNOWN)
        self.deaths += 1
        # One that ends in order has been told to, by the scheduler or by its task. Who
        # makes this nanny tells of one that has not begun.
        aloud = exitcode != 0 and self.deaths <= FAST and self._begun
        kind = m.WorkerDied if aloud else m.WorkerDown
        self._tell(kind(str(self.name), str(self.ended)))


def pause(deaths: int) -> float:
    """Return the seconds to wait before a worker is started that has died so often."""
    return float(min(PAUSE * 2 ** max(deaths - FAST, 0), LONGEST))
