"""The end of the time that all ranks and workers have to arrive (``--timeout``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_runner.hub.ending import later
from dask_runner.hub.spares import Vacancy

if TYPE_CHECKING:
    from dask_runner.errors import RunnerError
    from dask_runner.hub.shared_state import SharedState
    from dask_runner.hub.survival import Survival


class Deadline:
    """Ends a cluster that is not ready in time, or fills its gaps with spare ranks.

    Parameters
    ----------
    shared : SharedState
    survival : Survival
        Goes on without ranks.
    """

    def __init__(self, shared: SharedState, survival: Survival) -> None:
        self._shared = shared
        self._survival = survival
        self._again()

    def _again(self) -> None:
        later(self._shared.settings.timeout, self._time_is_over)

    def _time_is_over(self) -> None:
        shared = self._shared
        if shared.ending.status is not None:
            return
        absent = shared.roster.never_came()
        left = 0.0 if absent else shared.packages.left(shared.settings.timeout)
        if left and not shared.assembly.ready:
            # All are there, and wait or have waited for the cluster's packages.
            later(left, self._time_is_over)
            return
        error, there = shared.assembly.what_is_missing(), shared.assembly.ready
        # The ranks that take places now need time as well.
        if shared.spares.number and self._replaces_the_late(error):
            self._again()
        elif not there:
            self._survival.fail(error)

    def _replaces_the_late(self, error: RunnerError) -> bool:
        """Have spare ranks take the places of those that are late, if all can be taken.

        Parameters
        ----------
        error : RunnerError
            What is missing.

        Returns
        -------
        bool
            Whether there are spare ranks that have taken a place, and are starting.
        """
        shared, spares, survival = self._shared, self._shared.spares, self._survival
        absent = shared.roster.never_came()
        if shared.assembly.scheduler is None or shared.plan.never_spare & {*absent}:
            return False
        # Before it was known which nodes wait, no rank could start.
        late = spares.late if spares.chosen and not shared.assembly.ready else []
        too_many = spares.chosen and len(absent) + len(late) > spares.ranks
        if survival.needs_all and too_many:
            return False
        for rank in absent:
            shared.roster.stop_waiting_for(rank)
            shared.report.warn(f"rank {rank} did not arrive in time")
            what = f"rank {rank} did not arrive"
            survival.replacement.look_for_spare(Vacancy(rank, what, error))
        survival.replacement.choose()
        for member in late:
            survival.give_up_if_late(member)
        return spares.starting
