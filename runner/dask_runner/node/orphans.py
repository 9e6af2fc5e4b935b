"""What a rank's processes leave behind, and who ends it."""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import time
from typing import TYPE_CHECKING

from dask_runner import linux

if TYPE_CHECKING:
    from collections.abc import Container

#: Where old systems have timers.
RT = "librt.so.1"

#: Seconds for the last moments of a process, which take a fraction of one.
LAST = 10

#: Seconds for the resource tracker to remove what nobody uses any more.
TRACKER = 1.0


class _Event(ctypes.Structure):
    """``struct sigevent`` (sigevent(7)): send a signal."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signo", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("rest", ctypes.c_int * 12),
    )


class _Times(ctypes.Structure):
    """``struct itimerspec`` (timer_settime(2)): interval, and time until then."""

    _fields_ = tuple((name, ctypes.c_long) for name in ("is_", "in_", "s", "ns"))


@functools.cache
def _timer() -> tuple[ctypes.CDLL, ctypes.c_void_p]:
    # In a library of its own until glibc 2.34.
    libc = ctypes.CDLL(None if hasattr(ctypes.CDLL(None), "timer_create") else RT)
    timer = ctypes.c_void_p()
    event = _Event(None, signal.SIGKILL, 0)
    libc.timer_create(time.CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(timer))
    return libc, timer


def die_in(seconds: int) -> None:
    """Let the kernel kill this process after so many seconds; 0: let it live.

    For the last moments, in which nobody else is left who would kill it if it is
    stopped (SIGSTOP) and not continued: its launcher would wait for ever.
    """
    libc, timer = _timer()
    libc.timer_settime(timer, 0, ctypes.byref(_Times(0, 0, seconds, 0)), None)


def end_orphans(but: Container[int] = ()) -> None:
    """Kill and reap every child that is left, until there is none *but* these.

    A fork server, or what a task has started, may outlive the process that
    started it by a moment or for ever; Apptainer waits for the image's last
    process, and complains. The resource tracker of multiprocessing ends by itself
    when all others have, and removes what a killed one has left in /dev/shm.
    """
    while children := [child for child in linux.children() if child not in but]:
        others = [child for child in children if not _tracks_resources(child)]
        for child in others:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        if not others:
            for child in children:
                _end_in_time(child)


def _end_in_time(child: int) -> None:
    """Reap a child that is about to end; after :data:`TRACKER` seconds kill it."""
    latest = time.monotonic() + TRACKER
    while time.monotonic() < latest:
        if os.waitpid(child, os.WNOHANG)[0]:
            return
        # A pidfd would tell, but the kernel of an old site has none.
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _tracks_resources(pid: int) -> bool:
    return "multiprocessing.resource_tracker" in linux.command_line(pid)
