"""One worker, as the rank and the user want it: with or without nanny and ports."""

from __future__ import annotations

import copy
import logging
import os
from functools import partial
from typing import TYPE_CHECKING, Any

import dask.config
from distributed import Nanny, Worker
from distributed.worker_memory import parse_memory_limit

from dask_runner.node import messages as n
from dask_runner.programs import lifeline, user_modules
from dask_runner.programs.listening import OwnWorker
from dask_runner.programs.nanny import WatchedNanny
from dask_runner.programs.sitehook.for_client import Link
from dask_runner.programs.work_done import LastWords
from dask_runner.programs.worker import Placed
from dask_runner.resources import open_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dask_runner.node.instructions import RunWorkers
    from dask_runner.resources.worker_share import NamedWorker
    from dask_runner.wire.message import Message

logger = logging.getLogger("distributed")

#: Settings for nannies, which their workers do not get. All nannies of a node are in
#: this process; each of them would sample it a hundred times a second, and record its
#: load and the pace of its event loop. Nobody can read these records of a nanny.
NANNY_CONFIG = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "200ms",
    "distributed.admin.system-monitor.interval": "5s",
}


class MakeWorker:
    """Makes the workers of one rank.

    Parameters
    ----------
    work : RunWorkers
    inherited : frozenset of str
        The names of the variables that forks inherit from the agent's own rank.
    tell : callable
        Sends a message to the rank.
    """

    def __init__(
        self,
        work: RunWorkers,
        inherited: frozenset[str],
        tell: Callable[[Message], None],
    ) -> None:
        self._work = work
        self._inherited = inherited
        self._tell = tell

    def __call__(self, kind: Any, worker: NamedWorker, deaths: int = 0) -> Any:
        """Return a worker, under its nanny if it has one; it is not started yet.

        Parameters
        ----------
        kind : type or callable
            The class of the workers.
        worker : NamedWorker
        deaths : int
            Its deaths in a row, under earlier nannies.
        """
        work = self._work
        own = {**work.common, **self.keywords(worker)}
        options = lifeline.secured(own, work.keys)
        more = options.pop("env", None) or {}
        variables = {**work.environ, **worker.environ, **more}
        if not work.nanny:
            os.environ.update(variables)
            open_files.give_back()
            Link.set("", advises=False)  # as in Placed
            return self._own(kind, work.scheduler, **options)
        if isinstance(kind, type) and issubclass(kind, Nanny):
            options["env"] = variables
            return self._own(kind, work.scheduler, **options)
        options["plugins"] = (*options.get("plugins", ()), LastWords())
        kind = Placed(
            OwnWorker(kind, self._ports),
            worker.cpus or work.cpus,
            work.directory,
            work.logs[work.workers.index(worker)],
            user_modules.for_workers(work.modules),
            _in_place_of(self._inherited - variables.keys()),
            open_files.given(),
            self.prints(worker),
        )
        with dask.config.set(NANNY_CONFIG):
            nanny = WatchedNanny(
                work.scheduler,
                worker_class=kind,
                env=variables,
                tell=self._tell,
                running=partial(self.running, worker),
                deaths=deaths,
                **options,
            )
        # What its worker gets is sent by a thread, and shares this process's settings,
        # which the next nanny is about to change for a moment.
        nanny.config = copy.deepcopy(nanny.config)
        return nanny

    def keywords(self, worker: NamedWorker) -> dict[str, Any]:
        """Return Dask's keywords for one worker; the user's options come last."""
        return {
            "name": worker.name,
            "nthreads": worker.nthreads,
            "memory_limit": worker.memory_limit,
            **self._work.options,
        }

    def name(self, worker: NamedWorker) -> str:
        """Return the name of a worker, as Dask has it."""
        return str(self.keywords(worker)["name"])

    def prints(self, worker: NamedWorker) -> tuple[str, str]:
        """Return the label of what a worker prints, and the file that gets it too."""
        at, copies = self._work.workers.index(worker), self._work.copies
        label = self.name(worker) if self._work.labels else ""
        return label, copies[at] if copies else ""

    def running(self, worker: NamedWorker, pid: int) -> n.RunningWorker:
        """Return a worker as the process that it is."""
        words = self.keywords(worker)
        return n.RunningWorker(
            str(words["name"]), pid, int(words["nthreads"]), self.limit(worker)
        )

    def limit(self, worker: NamedWorker) -> int:
        """Return the memory limit of a worker in bytes; 0 for none."""
        words = self.keywords(worker)
        limit = parse_memory_limit(
            words["memory_limit"], words["nthreads"], logger=logger
        )
        return int(limit or 0)

    @property
    def _ports(self) -> bool:
        """Whether the user wants the workers' HTTP servers, on ports."""
        return self._work.options.get("dashboard_address") is not None

    def _own(self, kind: Any, *args: Any, **options: Any) -> Any:
        """Return a worker, a nanny or several nannies of the user's class."""
        if isinstance(kind, type) and issubclass(kind, Worker):
            return OwnWorker(kind, self._ports)(*args, **options)
        server = kind(*args, **options)
        for nanny in members(server):
            nanny.Worker = OwnWorker(nanny.Worker, self._ports)
        return server


def _in_place_of(variables: Iterable[str]) -> dict[str, str | None]:
    """Return the values for variables that a worker must not inherit.

    Dask sets some of these variables where the user does not.
    """
    given: dict[str, str | None] = dict.fromkeys(variables)
    for key in ("pre-spawn-environ", "environ"):
        dasks = dask.config.get(f"distributed.nanny.{key}").items()
        given |= {k: str(v) for k, v in dasks if k in given and v is not None}
    return given


def members(server: Any) -> list[Any]:
    """Return the nannies of a server that has several; otherwise the server."""
    return list(getattr(server, "nannies", [server]))
