"""The assembly of a cluster: from the first rank's arrival until the client starts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from dask_runner.errors import AssemblyError
from dask_runner.hub import messages as m
from dask_runner.hub.ending import later
from dask_runner.hub.losses import ranks_in_words

if TYPE_CHECKING:
    from dask_runner.hub.ending import Ending
    from dask_runner.hub.members import Host
    from dask_runner.hub.report import Reporter
    from dask_runner.hub.roster import Roster
    from dask_runner.hub.spares import Spares
    from dask_runner.launch.plan import Plan
    from dask_runner.launch.settings import Settings

#: Seconds that ranks wait for others of their node once the scheduler is up, where the
#: cluster may begin without all ranks (``--min-workers``).
NEIGHBOURS_SECONDS = 5.0


class Assembly:
    """The assembly of one cluster.

    Parameters
    ----------
    roster : Roster
    plan : Plan
    settings : Settings
        ``timeout``, ``min_workers``, ``mpi_tasks``.
    report : Reporter
        Prints for the user.
    ending : Ending
        Learns when the script begins. Once it has a status, nothing starts any more.
    spares : Spares
        Holds ranks back.
    scheduler : SchedulerUp or None
        A scheduler that runs elsewhere already.

    Attributes
    ----------
    scheduler : SchedulerUp or None
        The scheduler, once it is up.
    ready : bool
        Whether the client has been started.
    """

    def __init__(
        self,
        roster: Roster,
        plan: Plan,
        settings: Settings,
        report: Reporter,
        ending: Ending,
        spares: Spares,
        scheduler: m.SchedulerUp | None,
    ) -> None:
        self._roster = roster
        self._plan = plan
        self._settings = settings
        self._report = report
        self._ending = ending
        self._spares = spares
        self.scheduler = scheduler
        self.ready = False
        self._complete = False
        self._joined: set[Host] = set()
        self._has_scheduler = asyncio.Event()

    def scheduler_up(self, message: m.SchedulerUp) -> None:
        """Start the workers: the scheduler is up."""
        self.scheduler = message
        self._has_scheduler.set()
        if self._settings.min_workers is not None:
            later(NEIGHBOURS_SECONDS, self._wait_no_longer)
        self.advance()

    async def scheduler_address(self) -> str:
        """Wait until a rank's scheduler is up; return its address."""
        await self._has_scheduler.wait()
        return self.scheduler.address if self.scheduler else ""

    def joined(self, host: Host) -> None:
        """Start workers on a host that a rank has joined, once for all new ranks."""
        if not self._joined:
            asyncio.get_running_loop().call_soon(self._advance_the_joined)
        self._joined.add(host)

    def _advance_the_joined(self) -> None:
        hosts, self._joined = self._joined, set()
        # Until all ranks have arrived, a new rank only affects its own host.
        for host in (None,) if self._roster.own.assembled else hosts:
            self.advance(host)

    def advance(self, host: Host | None = None) -> None:
        """Start what can start now, on all hosts or on one of them."""
        if self._ending.status is not None or self.scheduler is None:
            self._ending.changed()
            return
        for each in self._roster.waiting(host):
            for node, starts in self._roster.start(
                each, self.scheduler.address, self._spares.holds
            ):
                node.channel.send(starts)
        zero = self._roster.member(self._plan.scheduler)
        client = self._roster.member(self._plan.client)
        if zero is not None and not self._complete and self._enough():
            self._complete = True
            zero.tell(m.Complete())
        serves = self._plan.client is None
        if (client or serves) and not self.ready and self._enough():
            self.ready = True
            link = self._report.ready(
                self._ending.seconds,
                self._roster.registered,
                [member for member in self._roster.members if member.complete],
                self.scheduler,
                zero.node.name if zero else "",
                self._spares.nodes,
            )
            if client is not None:
                workers = self._roster.registered
                name = self._report.name
                client.tell(m.Ready(self.scheduler.address, link, workers, name=name))
            self._ending.begins()
            self._wait_no_longer()
        self._ending.changed()

    def _wait_no_longer(self) -> None:
        """Start ranks whose node is not complete, or whose leader has not come."""
        self._roster.own.impatient = True
        self.advance()

    def _enough(self) -> bool:
        wanted = self._settings.min_workers
        if wanted is None:
            return self._roster.own.assembled and not self._roster.missing
        return self._roster.registered >= int(wanted)

    def what_is_missing(self) -> AssemblyError:
        """Return the error about what is missing at the deadline."""
        roster, seconds = self._roster, f"{self._settings.timeout:g} s"
        if missing := roster.never_came():
            zero = roster.member(0)
            return AssemblyError(
                f"{ranks_in_words(missing)} of {roster.own.size} did not arrive "
                f"within {seconds}",
                f"all ranks, each able to reach {zero.node.name if zero else 'rank 0'}",
                "look for errors of these tasks above; give more time with "
                "--timeout, or begin with fewer by --min-workers",
            )
        if self.scheduler is None:
            return AssemblyError(
                f"the scheduler was not up within {seconds}",
                "a scheduler",
                "give more time with --timeout",
            )
        do = "give more time with --timeout, or begin with fewer by --min-workers"
        saw = (
            f"{roster.registered} workers registered within {seconds}, but none of "
            f"{', '.join(roster.late()[:10])}"
        )
        if self._settings.mpi_tasks:
            saw += " (--mpi-tasks: they are in MPI_Init, or wait for others)"
            do = "see what starts this MPI: dask-runner check; or give more --timeout"
        return AssemblyError(saw, f"{self._settings.min_workers or 'all'} workers", do)
