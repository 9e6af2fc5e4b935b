"""A timer of the kernel that kills this process, even if it is stopped by then.

A rank sets it before it imports anything else, so this module is small.
"""

from __future__ import annotations

import ctypes
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: The library that has timers before glibc 2.34.
RT = "librt.so.1"

#: Seconds for the last steps of a process, which take a fraction of a second.
LAST_STEPS_SECONDS = 10

#: Seconds to arrive where nobody says any (``launch.options``), and what
#: :func:`timeout_at_a_glance` returns at least and at most.
TIMEOUT_SECONDS = 60.0
FEWEST, MOST = 30.0, 86400.0

#: Where ``--timeout`` is said.
OPTION, VARIABLE = "--timeout", "DASK_RUNNER__TIMEOUT"

_SIGKILL = 9
#: PIDs are below (proc(5), ``pid_max``).
_LAST_PID = 1 << 22


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


_made: list[tuple[ctypes.CDLL, ctypes.c_void_p]] = []


def _timer() -> tuple[ctypes.CDLL, ctypes.c_void_p]:
    if not _made:
        # Until glibc 2.34 the timers were in a library of their own.
        libc = ctypes.CDLL(None)
        if not hasattr(libc, "timer_create"):
            libc = ctypes.CDLL(RT)
        timer, event = ctypes.c_void_p(), _Event(None, _SIGKILL, 0)
        libc.timer_create(
            time.CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(timer)
        )
        _made.append((libc, timer))
    return _made[0]


def die_in(seconds: float) -> None:
    """Have the kernel kill this process after *seconds*; 0 cancels that.

    In the first and the last steps of a process no other is there that would kill it if
    it is stopped (SIGSTOP) and not continued; its launcher would wait without end.
    """
    libc, timer = _timer()
    times = _Times(0, 0, -int(-seconds // 1), 0)
    libc.timer_settime(timer, 0, ctypes.byref(times), None)


def end_watch(child: str) -> None:
    """End the child that did the same until now, if there is one.

    The images' own program has it, as a timer does not outlive execve(2).

    Parameters
    ----------
    child : str
        Its process ID, from the environment; anybody may have written it.
    """
    if not child.isdecimal() or not 0 < int(child) <= _LAST_PID:
        return
    try:
        if os.waitpid(int(child), os.WNOHANG) == (0, 0):
            os.kill(int(child), _SIGKILL)
            os.waitpid(int(child), 0)
    except ChildProcessError:
        return  # it is no child of this process


def timeout_at_a_glance(
    args: Sequence[str], environ: Mapping[str, str] = os.environ
) -> float:
    """Return ``--timeout``, as far as it is known before the options are read.

    It is only for the time until they are. The words of the script may say something
    else by the same name, so it is never a short time: to read the options may take
    long where the file system is slow.
    """
    said = environ.get(VARIABLE, "")
    for at, word in enumerate(args):
        name, _, value = word.partition("=")
        if name == OPTION:
            said = value or "".join(args[at + 1 : at + 2])
            break
    try:
        return min(max(FEWEST, float(said)), MOST)
    except ValueError:
        return TIMEOUT_SECONDS
