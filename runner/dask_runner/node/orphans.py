"""End the processes that a rank's processes leave behind."""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import time
from math import ceil
from typing import TYPE_CHECKING

from dask_runner import linux

if TYPE_CHECKING:
    from collections.abc import Container

#: The library that has timers before glibc 2.34.
RT = "librt.so.1"

#: Seconds for the last steps of a process, which take a fraction of a second.
LAST = 10

#: Seconds for the resource tracker to remove what no process uses any more.
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
    # Until glibc 2.34 the timers were in a library of their own.
    libc = ctypes.CDLL(None if hasattr(ctypes.CDLL(None), "timer_create") else RT)
    timer = ctypes.c_void_p()
    event = _Event(None, signal.SIGKILL, 0)
    libc.timer_create(time.CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(timer))
    return libc, timer


def die_in(seconds: float) -> None:
    """Have the kernel kill this process after *seconds*; 0 cancels that.

    In the last steps of a process no other is left that would kill it if it is stopped
    (SIGSTOP) and not continued; its launcher would wait without end.
    """
    libc, timer = _timer()
    libc.timer_settime(timer, 0, ctypes.byref(_Times(0, 0, ceil(seconds), 0)), None)


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
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        if not others:
            for child in children:
                _end_in_time(child)


def _end_in_time(child: int) -> None:
    """Wait for a child that is about to end; kill it after :data:`TRACKER` seconds."""
    latest = time.monotonic() + TRACKER
    while time.monotonic() < latest:
        if os.waitpid(child, os.WNOHANG)[0]:
            return
        # A pidfd would make the wait shorter, but old kernels have none.
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _tracks_resources(pid: int) -> bool:
    return "multiprocessing.resource_tracker" in linux.command_line(pid)
