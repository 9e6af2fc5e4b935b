"""What a cluster does before the batch system ends its job."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

from dask_runner.hub.durations import in_words
from dask_runner.launch.walltime import END_BEFORE_SECONDS, HOW_TO_TELL

if TYPE_CHECKING:
    from collections.abc import Callable

    from dask_runner.hub.report import Reporter
    from dask_runner.launch.settings import Settings


class TimeLimit:
    """Ends a cluster before its job ends, where it is known when that is.

    Parameters
    ----------
    settings : Settings
        ``stop_before``, ``requeue_before``.
    report : Reporter
    ends_at : float or None
        When the batch system ends the job, in seconds since 1970.
    end : callable
        Called when the cluster has to end.
    serves : bool
        Whether the cluster has no script.

    Attributes
    ----------
    requeues : bool
        Whether the job is to be queued again then.
    """

    def __init__(
        self,
        settings: Settings,
        report: Reporter,
        ends_at: float | None,
        end: Callable[[], None],
        *,
        serves: bool,
    ) -> None:
        self._report = report
        self._ends_at = ends_at
        self._end = end
        self._asked = settings.stop_before is not None
        self.requeues = settings.requeue_before is not None
        self._before = settings.stop_before or settings.requeue_before
        if self._before is None and serves:
            # All ranks leave within half of them.
            self._before = END_BEFORE_SECONDS

    def begins(self) -> None:
        """Plan the end: the cluster is ready."""
        if self._before is None:
            return
        if self._ends_at is None:
            if self._asked:
                self._report.note(
                    "--stop-before has no effect: the job has no time limit, or "
                    f"nothing tells when it ends; {HOW_TO_TELL}"
                )
            return
        left = self._ends_at - self._before - time.time()
        asyncio.get_running_loop().call_later(max(0.0, left), self._end)

    @property
    def grace(self) -> float:
        """Seconds that are reserved for the script, where it is told to end now."""
        # What else --requeue-before reserves is for Slurm, which is asked then.
        return 0.0 if self.requeues else self._seconds - END_BEFORE_SECONDS

    @property
    def left(self) -> str:
        """The time until the job's end, in words."""
        return f"the job ends in {in_words(max(self._seconds, 0.0))}"

    def explains(self, number: int) -> bool:
        """Return whether a signal has come because the job's time is over; say so."""
        is_over = number == signal.SIGTERM and self._seconds <= 0
        if is_over:
            self._report.note("the job has reached its time limit")
        return is_over

    @property
    def _seconds(self) -> float:
        return float("inf") if self._ends_at is None else self._ends_at - time.time()
