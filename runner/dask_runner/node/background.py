"""Background tasks of a rank: a task that fails becomes an event."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dask_runner.node.events import Source

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from dask_runner.node.events import Event


@dataclass(frozen=True, slots=True)
class Crashed:
    """A background task has failed, because of a mistake in this program."""

    error: BaseException


class Tasks:
    """The background tasks of a rank, kept for as long as they run.

    Parameters
    ----------
    events : asyncio.Queue
        Gets ``(Source.task, Crashed)`` for each that fails.
    """

    def __init__(self, events: asyncio.Queue[Event]) -> None:
        self._events = events
        self._running: set[asyncio.Task[Any]] = set()

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine as a background task."""
        task = asyncio.create_task(coroutine)
        self._running.add(task)
        task.add_done_callback(self._done)

    async def cancel(self) -> None:
        """Cancel all tasks, and wait until they have ended."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._events.put_nowait((Source.task, Crashed(error)))
