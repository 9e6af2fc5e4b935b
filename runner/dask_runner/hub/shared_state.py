"""What those share that decide about one matter of the cluster each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dask_runner.hub.assembly import Assembly
    from dask_runner.hub.ending import Ending
    from dask_runner.hub.history import History
    from dask_runner.hub.packages import AddedPackages
    from dask_runner.hub.report import Reporter
    from dask_runner.hub.roster import Roster
    from dask_runner.hub.spares import Spares
    from dask_runner.launch.plan import Plan
    from dask_runner.launch.settings import Settings


@dataclass(frozen=True)
class SharedState:
    """The state of the cluster: its plan, its ranks, its assembly and its end."""

    plan: Plan
    settings: Settings
    report: Reporter
    roster: Roster
    spares: Spares
    assembly: Assembly
    ending: Ending
    packages: AddedPackages
    history: History
