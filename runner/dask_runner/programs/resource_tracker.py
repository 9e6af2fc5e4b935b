"""Multiprocessing's resource tracker: silent, and deaf to what would kill it.

The first one is a fork of the agent: it does the same as the library's, which is a new
Python and costs a start 30 ms of CPU time on each node. If it is killed, the library
starts another one.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from multiprocessing import resource_tracker
from multiprocessing.util import close_all_fds_except
from typing import TYPE_CHECKING, Any, NoReturn

from dask_runner import linux
from dask_runner.launch.signals import FOR_THE_SCRIPT
from dask_runner.node.orphans import TRACKER

if TYPE_CHECKING:
    from collections.abc import Callable

_STDERR = 2

#: How its warnings begin. It removes what those have left whom it has served, and says
#: so. If they were killed, that would look as if it were the cause: its stderr is the
#: log of the agent, whose last lines are shown.
_WARNS = "resource_tracker"
_SILENT = f"ignore:{_WARNS}:UserWarning"  # as of python -W


_tracker: Any = resource_tracker._resource_tracker  # noqa: SLF001


def protect() -> None:
    """Have the resource tracker started with signals blocked that would kill it.

    It does not warn of what it removes. If it is killed all the same, the library
    starts another one and prints a warning, which cannot be avoided.
    """
    for name in ("ensure_running", "_ensure_running_and_write"):
        if original := getattr(_tracker, name, None):
            setattr(_tracker, name, _deaf(original))
    resource_tracker.ensure_running = _tracker.ensure_running


def fork() -> None:
    """Fork the resource tracker of this process, which has one thread."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        _serve(reader)
    os.close(reader)
    _tracker._fd, _tracker._pid = writer, pid  # noqa: SLF001


def _serve(reader: int) -> NoReturn:
    status = 1
    try:
        linux.name_process(TRACKER)
        signal.pthread_sigmask(signal.SIG_BLOCK, FOR_THE_SCRIPT)
        warnings.filterwarnings("ignore", _WARNS, UserWarning)
        # Others wait for the ends of what this has inherited.
        close_all_fds_except([_STDERR, reader])
        resource_tracker.main(reader)
    except SystemExit as end:
        status = int(end.code or 0)
    finally:
        # The frames above are the agent's, whose code must not run in this fork.
        os._exit(status)


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
