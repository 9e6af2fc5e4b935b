"""End the processes that a rank's processes leave behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING

from dask_runner import linux

if TYPE_CHECKING:
    from collections.abc import Container

#: The name of the resource tracker that the agent forks (ps -o comm).
TRACKER = "dask-tracker"
#: Seconds for the resource tracker to remove what no process uses any more.
TRACKER_SECONDS = 1.0


def end_orphans(but: Container[int] = ()) -> None:
    """Kill and reap all children, but not those in *but*.

    A fork server, or a process that a task has started, may outlive its parent. This
    process inherits it, and Apptainer waits for the last process of the image. The
    resource tracker of multiprocessing ends by itself after all others, and removes
    what a killed process has left in /dev/shm.
    """
    while children := [child for child in linux.children() if child not in but]:
        others = [child for child in children if not _tracks_resources(child)]
        for child in others:
            _kill(child)
        if not others:
            for child in children:
                _end_in_time(child)


async def ended_orphans(seconds: float) -> None:
    """Wait until all children have ended by themselves, but no longer than *seconds*.

    All processes that this one has started have ended before.
    """
    latest = time.monotonic() + seconds
    while linux.children() and time.monotonic() < latest:
        _reap()
        await asyncio.sleep(0.02)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _kill(child: int) -> None:
    """Kill and reap a child that nobody may have reaped meanwhile.

    Threads of this process reap children of their own: asyncio's of a process that has
    just been started, subprocess's of one that it has forgotten.
    """
    try:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    except (ProcessLookupError, ChildProcessError):
        return  # it has ended, and is reaped


def _end_in_time(child: int) -> None:
    """Wait for a child that is about to end; kill it after :data:`TRACKER_SECONDS`."""
    latest = time.monotonic() + TRACKER_SECONDS
    while time.monotonic() < latest:
        try:
            if os.waitpid(child, os.WNOHANG)[0]:
                return
        except ChildProcessError:
            return  # as above
        # A pidfd would make the wait shorter, but old kernels have none.
        time.sleep(0.01)
    _kill(child)


def _tracks_resources(pid: int) -> bool:
    if linux.process_name(pid) == TRACKER:
        return True
    # One that the library has started, because the first was killed.
    return "multiprocessing.resource_tracker" in linux.command_line(pid)
