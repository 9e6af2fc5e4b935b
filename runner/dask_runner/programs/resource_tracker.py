"""Multiprocessing's resource tracker, protected from signals that would kill it."""

from __future__ import annotations

import signal
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

from dask_runner.launch.signals import FOR_THE_SCRIPT

if TYPE_CHECKING:
    from collections.abc import Callable


def protect() -> None:
    """Start the resource tracker with signals blocked that would kill it.

    If it is killed all the same, the library starts another one and prints a warning,
    which cannot be avoided.
    """
    tracker: Any = resource_tracker._resource_tracker  # noqa: SLF001
    for name in ("ensure_running", "_ensure_running_and_write"):
        if original := getattr(tracker, name, None):
            setattr(tracker, name, _deaf(original))
    resource_tracker.ensure_running = tracker.ensure_running


def _deaf(start: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        # Processes of multiprocessing do not handle these.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, FOR_THE_SCRIPT)
        try:
            return start(*args)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    return call
