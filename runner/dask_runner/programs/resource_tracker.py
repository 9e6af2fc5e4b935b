"""Multiprocessing's resource tracker: silent, and deaf to what would kill it."""

from __future__ import annotations

import signal
import sys
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

from dask_runner.launch.signals import FOR_THE_SCRIPT

if TYPE_CHECKING:
    from collections.abc import Callable

#: As of ``python -W``. It removes what those have left whom it has served, and says so.
#: If they were killed, that would look as if it were the cause: its stderr is the log
#: of the agent, whose last lines are shown.
_SILENT = "ignore:resource_tracker:UserWarning"


def protect() -> None:
    """Start the resource tracker with signals blocked that would kill it.

    It does not warn of what it removes. If it is killed all the same, the library
    starts another one and prints a warning, which cannot be avoided.
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
        # The library gives the tracker the options of this interpreter.
        sys.warnoptions.append(_SILENT)
        try:
            return start(*args)
        finally:
            sys.warnoptions.remove(_SILENT)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    return call
