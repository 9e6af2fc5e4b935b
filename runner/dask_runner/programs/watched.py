"""A nanny that tells how its worker died."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from distributed import Nanny, Status

from dask_runner.deaths import Ended, Kills
from dask_runner.found import in_words

if TYPE_CHECKING:
    from collections.abc import Callable

#: The status that Dask gives where it was lost: two threads of the agent may ask
#: multiprocessing's fork server for it at once, and only one is answered.
LOST = 255

_ENDING = (Status.closing, Status.closed, Status.closing_gracefully)


class WatchedNanny(Nanny):  # type: ignore[misc]  # Dask has no type information
    """Dask's nanny, which tells how its worker died where it was not to end.

    Parameters
    ----------
    *args, **options
        As for Dask's.
    tell : callable
        Is called with the worker's name and what happened to it, in words.

    Attributes
    ----------
    why : str
        Why this process is about to kill the worker.
    killed : bool
        Whether the worker has died of a signal, or may have.
    """

    def __init__(
        self, *args: Any, tell: Callable[[str, str], None], **options: Any
    ) -> None:
        self._tell = tell
        self._kills = Kills()
        self.why = ""
        self.killed = False
        self._asked = False
        super().__init__(*args, **options)

    @property
    def worker_pid(self) -> int:
        """The worker's process id; 0 while there is none."""
        process = self.process and self.process.process
        return int((process and process.pid) or 0)

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
        if self.status not in _ENDING and exitcode:
            self.killed = exitcode < 0 or exitcode == LOST
            why = self.why or self._kills.why(exitcode)
            ended = Ended(exitcode, why, known=exitcode != LOST)
            self.why = ""
            if not self._asked:
                self._tell(str(self.name), str(ended))
        super()._on_worker_exit_sync(exitcode)
