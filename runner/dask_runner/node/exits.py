"""How a process ended, and why it died or stands still as far as the kernel tells."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass

from dask_runner.linux import process
from dask_runner.resources.cgroups import oom_kills

#: In place of a status that nobody could read.
UNKNOWN = 255


def signal_name(number: int) -> str:
    """Name a signal: "SIGKILL"; "signal 37" for one that has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        # Real-time signals between the first and the last (signal(7)).
        return f"signal {number}"


@dataclass(frozen=True, slots=True)
class Ended:
    """A process has ended.

    Attributes
    ----------
    status : int
        Negative for a signal, as in subprocess.
    why : str
        What is known of the reason.
    known : bool
        Whether the status is; not of a process that is no child of ours.
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
        """The status as a shell says it: 128 + signal."""
        return 128 - self.status if self.status < 0 else self.status


class Kills:
    """The kernel's kills for memory, since this was made or last asked."""

    def __init__(self) -> None:
        self._count = oom_kills()

    def since(self) -> int:
        """Return how many there were since the last time."""
        before, self._count = self._count, oom_kills()
        return self._count - before

    def why(self, status: int) -> str:
        """Explain an exit status, negative for a signal; empty if there is no more.

        A kernel that is short of memory sends SIGKILL, and counts it in the control
        group.
        """
        if status == -signal.SIGKILL and self.since() > 0:
            return (
                "by the kernel, because the job is out of memory; you can: ask for "
                "more, start fewer workers a node, or use smaller chunks"
            )
        return ""


class Standing:
    """Finds processes that were stopped (SIGSTOP) and are not continued.

    Parameters
    ----------
    silence : float
        Seconds for which a process may stand still.
    """

    def __init__(self, silence: float) -> None:
        self._silence = silence
        self._stopped: dict[int, float] = {}
        self._looked = time.monotonic()

    def too_long(self, pids: set[int], every: float) -> list[int]:
        """Look at processes, as is done *every* so many seconds.

        Of the time since the last look no more counts than that: where the whole job
        was suspended (scontrol suspend), this process was as well.

        Returns
        -------
        list of int
            Those that have been standing for longer than the silence.
        """
        now = time.monotonic()
        passed, self._looked = min(now - self._looked, 2 * every), now
        self._stopped = {
            pid: self._stopped.get(pid, 0.0) + passed for pid in pids if is_stopped(pid)
        }
        return [pid for pid, stood in self._stopped.items() if stood > self._silence]


def is_stopped(pid: int) -> bool:
    """Say whether a process is stopped by a signal (state T, proc(5))."""
    found = process(pid)
    return found is not None and found.state == "T"


def birth(pid: int) -> str:
    """Return when a process began, which tells it from a later one of its number."""
    found = process(pid)
    return found.began if found else ""


def ended(pid: int, born: str) -> int | None:
    """Return how a process that is no child of ours has ended; None if it has not.

    Its status can be read for as long as nobody has waited for it, and is
    :data:`UNKNOWN` afterwards. *born* is its :func:`birth`.
    """
    found = process(pid)
    if found is None or found.status is None or found.began != born:
        return UNKNOWN
    if found.state in {"Z", "X"}:
        return os.waitstatus_to_exitcode(found.status)
    return None
