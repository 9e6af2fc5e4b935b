"""Spare ranks in the places of lost ones (:mod:`dask_runner.hub.spares`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError, RunnerError
from dask_runner.hub.ending import later

if TYPE_CHECKING:
    from collections.abc import Callable

    from dask_runner.hub.losses import Losses
    from dask_runner.hub.members import Member
    from dask_runner.hub.shared_state import SharedState
    from dask_runner.hub.spares import Vacancy


class Replacement:
    """Starts spare ranks, when it is known which ones there are.

    Parameters
    ----------
    shared : SharedState
    losses : Losses
        Tells of them.
    unfilled : callable
        Is called with a vacancy for which there is no spare rank.
    late : callable
        Is called with a rank that has taken a place, when its time is over.
    fail : callable
        Is called with an error if there are too few nodes.
    """

    def __init__(
        self,
        shared: SharedState,
        losses: Losses,
        unfilled: Callable[[Vacancy], None],
        late: Callable[[Member], None],
        fail: Callable[[RunnerError], None],
    ) -> None:
        self._shared = shared
        self._spares = shared.spares
        self._losses = losses
        self._unfilled = unfilled
        self._late = late
        self._fail = fail

    def joined(self, member: Member) -> None:
        """Note a rank that has joined; the last one decides which nodes wait."""
        if not member.join:
            self._spares.came(member)
            self.choose_when_assembled()

    def choose_when_assembled(self) -> None:
        """Decide which nodes wait, if all are there."""
        if self._shared.roster.own.assembled:
            self.choose()

    def choose(self) -> None:
        """Decide which nodes wait, if that is not known; fill the vacancies."""
        spares = self._spares
        if spares.chosen or self._shared.ending.status is not None:
            return
        try:
            spares.choose()
        except ConfigError as error:
            self._fail(error)
            return
        vacancies, spares.vacancies = spares.vacancies, []
        for vacancy in vacancies:
            self._fill(vacancy)
        self._shared.assembly.advance()

    def look_for_spare(self, vacancy: Vacancy) -> None:
        """Start a spare rank in a lost one's place, as soon as there is one."""
        if self._spares.give_up(vacancy.rank):
            self._fill(vacancy)
        else:
            self._shared.assembly.advance()

    def _fill(self, vacancy: Vacancy) -> None:
        if not self._spares.chosen:
            self._spares.vacancies.append(vacancy)
        elif (spare := self._spares.take()) is not None:
            self._losses.replaced(vacancy.rank, spare)
            later(self._shared.settings.timeout, self._late, spare)
            self._shared.assembly.advance(spare.node.host)
        else:
            self._unfilled(vacancy)
