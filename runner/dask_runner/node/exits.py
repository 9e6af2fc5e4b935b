"""How a process ended, and what the kernel knows of the reason."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_runner.linux import process
from dask_runner.resources.cgroups import oom_kills

if TYPE_CHECKING:
    from collections.abc import Callable

#: The status of a process whose status could not be read.
UNKNOWN = 255


def signal_name(number: int) -> str:
    """Return a signal's name: "SIGKILL", or "signal 37" for one without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        # Only the first and the last real-time signal have names (signal(7)).
        return f"signal {number}"


@dataclass(frozen=True, slots=True)
class Ended:
    """A process has ended.

    Attributes
    ----------
    status : int
        Negative for a signal, as in subprocess.
    why : str
        The reason, if it is known.
    known : bool
        Whether the status is known; it is not for a process that is no child of this
        one.
    """

    status: int
    why: str = ""
    known: bool = True

    def __str__(self) -> str:
        why = f" ({self.why})" if self.why else ""
        if not self.known:
            return f"is gone{why}"
        if self.status < 0:
            return f"was killed by {signal_name(-self.status)}{why}"
        return f"ended with status {self.status}{why}"

    @property
    def shell_status(self) -> int:
        """The status that a shell reports: 128 + signal."""
        return 128 - self.status if self.status < 0 else self.status


class Kills:
    """Counts the processes that the kernel kills because memory is used up."""

    def __init__(self) -> None:
        self._count = oom_kills()

    def since(self) -> int:
        """Return the number of kills since the last call."""
        before, self._count = self._count, oom_kills()
        return self._count - before

    def why(self, status: int) -> str:
        """Return the reason for an exit status (negative: a signal); "" if not known.

        A kernel that runs out of memory sends SIGKILL, and counts the kills in the
        control group.
        """
        if status == -signal.SIGKILL and self.since() > 0:
            return (
                "by the kernel, because the job is out of memory; you can: ask for "
                "more, start fewer workers a node, or use smaller chunks"
            )
        return ""


class StoppedProcesses:
    """Finds processes that were stopped (SIGSTOP) and are not continued.

    Parameters
    ----------
    silence : float
        Seconds that a process may be stopped.
    clock : callable
        Returns the time in seconds.
    stopped : callable
        Returns whether a process is stopped; default: :func:`is_stopped`.
    """

    def __init__(
        self,
        silence: float,
        clock: Callable[[], float] = time.monotonic,
        stopped: Callable[[int], bool] | None = None,
    ) -> None:
        self._silence = silence
        self._clock = clock
        self._is_stopped = stopped or is_stopped
        self._stopped: dict[int, float] = {}
        self._looked = clock()

    def too_long(self, pids: set[int], every: float) -> list[int]:
        """Check processes; called *every* so many seconds.

        No more than twice that time counts since the last check: if the whole job was
        suspended (scontrol suspend), this process was suspended too.

        Returns
        -------
        list of int
            The processes that have been stopped for longer than the silence.
        """
        now = self._clock()
        passed, self._looked = min(now - self._looked, 2 * every), now
        self._stopped = {
            pid: self._stopped.get(pid, 0.0) + passed
            for pid in pids
            if self._is_stopped(pid)
        }
        return [pid for pid, stood in self._stopped.items() if stood > self._silence]


def is_stopped(pid: int) -> bool:
    """Return whether a signal has stopped a process (state T, proc(5))."""
    found = process(pid)
    return found is not None and found.state == "T"


def birth(pid: int) -> str:
    """Return when a process began, which tells it from a later one with its number."""
    found = process(pid)
    return found.began if found else ""


def ended(pid: int, born: str) -> int | None:
    """Return the status of a process that is no child of this one; None if it runs.

    The status can be read until the parent has waited for the process; afterwards it is
    :data:`UNKNOWN`. *born* is the :func:`birth` of the process.
    """
    found = process(pid)
    if found is None or found.status is None or found.began != born:
        return UNKNOWN
    if found.state in {"Z", "X"}:
        return os.waitstatus_to_exitcode(found.status)
    return None
