"""The base class of the runners: a ``with`` that is a cluster.

Every rank runs the user's script up to the ``with``. The client's rank enters the body;
the others run the scheduler and the workers until the cluster ends, and then leave with
:class:`SystemExit` (:mod:`dask_runner.library.session`).

The module is long because it is the class that users subclass; a third of it is what
``help()`` shows.
"""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dask_runner.errors import ConfigError, RunnerError
from dask_runner.hub.report import say
from dask_runner.launch import protocols
from dask_runner.launch.detect import detect, prints_shared_errors
from dask_runner.launch.handed_out import any_place, asked, counted, of_world
from dask_runner.launch.options import BY_KEY
from dask_runner.launch.plan import Plan, Role, check_spare, make_plan
from dask_runner.launch.settings import configured, settle
from dask_runner.launch.world import World
from dask_runner.library.deadline import within
from dask_runner.library.instructions import RunTop
from dask_runner.library.nested import NestedError, refuse_nested
from dask_runner.library.session import Session
from dask_runner.library.with_body import status_of
from dask_runner.meeting import tls
from dask_runner.mpi import here
from dask_runner.programs import dask_tls
from dask_runner.programs.termination import STATUS

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from contextlib import AbstractContextManager
    from types import TracebackType

    from distributed import Security

    from dask_runner.launch.handed_out import Asked
    from dask_runner.launch.settings import Settings
    from dask_runner.mpi.here import Exchange

#: Counts the clusters that this process has entered, so that a second one does not meet
#: by the first one's record. All ranks run the same script, so they count alike.
_clusters = count()


class BaseRunner:
    """A Dask cluster of the ranks that run this script.

    Subclass it for a launcher that dask-runner does not know: override :meth:`world`,
    and :meth:`exchange` if the ranks have a better way to meet than a file.

    Parameters
    ----------
    layout : {"dedicated", "shared"}
        "dedicated": rank 0 schedules, rank 1 is the client, the others work;
        "shared": every rank works, and rank 0 is the client as well.
    scheduler_options, worker_options : mapping, optional
        More keywords for Dask's ``Scheduler`` and for its workers (or nannies); their
        values must be such as JSON has.
    worker_class : str or type, optional
        A subclass of Dask's Worker or Nanny.
    worker_name : str, optional
        Workers are named ``{worker_name}-{rank}`` instead of ``{rank}``.
    scheduler_address : str, optional
        A scheduler that runs elsewhere, for a plan without one.
    asynchronous : bool
        For ``async with``.
    **options
        Any option of the command line by its Python name (``nthreads``,
        ``memory_limit``, ``interface``, ``timeout``, ...; see ``dask-runner run
        --help``).

    Raises
    ------
    ConfigError, UsageError
        On entering, when there is no such world or an option is invalid.
    """

    launcher = "auto"
    layout = "dedicated"

    def __init__(
        self,
        *,
        layout: str | None = None,
        scheduler_options: Mapping[str, Any] | None = None,
        worker_options: Mapping[str, Any] | None = None,
        worker_class: str | type | None = None,
        worker_name: str | None = None,
        scheduler_address: str | None = None,
        asynchronous: bool = False,
        **options: Any,
    ) -> None:
        unknown = sorted(set(options) - set(BY_KEY))
        if unknown:
            raise TypeError(f"unknown options: {', '.join(unknown)}")
        own = {"layout": layout or self.layout, "worker_class": _path_of(worker_class)}
        self._given = options | own
        self._scheduler_options = dict(scheduler_options or {})
        self._worker_options = dict(worker_options or {})
        self._worker_name = worker_name or ""
        self._elsewhere = scheduler_address or ""
        self._asynchronous = asynchronous
        self._session = Session()
        self.rank: int | None = None
        self.role: Role | None = None
        # Client(runner) makes its own event loop where this is None.
        self.loop = None

    # --- for subclasses -----------------------------------------------------

    def world(self, environ: Mapping[str, str]) -> World:
        """Return this process's place; by default from the launcher's variables.

        Parameters
        ----------
        environ : mapping
            The environment of the process.

        Returns
        -------
        World

        Raises
        ------
        ConfigError
            If there is none.
        """
        return detect(environ, self._choice) or World.alone()

    #: ``exchange(text)`` is called in every rank, in rank 0 with the record's text and
    #: in the others with None. It returns the text in all. Where it is None, the ranks
    #: meet in their launcher's default way.
    exchange: Exchange | None = None

    def plan(self, world: World, layout: str) -> Plan:
        """Return the roles of all ranks."""
        return make_plan(world.size, layout)

    # --- what Client(runner) and the user read ------------------------------

    @property
    def status(self) -> str:
        """Created, starting, running, closing or closed."""
        return self._session.status

    @property
    def scheduler_address(self) -> str:
        """The scheduler's address."""
        return self._session.ready.address

    @property
    def dashboard_link(self) -> str:
        """The dashboard's address, or how to reach it; empty without a dashboard."""
        return self._session.ready.dashboard

    @property
    def n_workers(self) -> int:
        """The number of workers when the cluster is ready."""
        return self._session.ready.nworkers

    @property
    def security(self) -> Security | None:
        """The cluster's keys for TLS; None with ``security="none"``."""
        ready = self._session.ready
        return dask_tls.as_security(ready.certificate, ready.private_key)

    @property
    def asynchronous(self) -> bool:
        """Whether the runner is for ``async with``."""
        return self._asynchronous

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self.status}, rank {self.rank}, "
            f"{self.n_workers} workers, {self.scheduler_address or 'no scheduler'}>"
        )

    # --- life ---------------------------------------------------------------

    def __enter__(self) -> Self:
        if self._asynchronous:
            raise TypeError("asynchronous=True: use 'async with'")
        self._enter()
        self._session.begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._session.termination.over()
        self._session.leave(status_of(error))

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._enter)
        self._session.begin()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        ours = self._session.termination
        ours.over()
        # asyncio cancels what SIGTERM interrupts.
        ended = ours.raised and isinstance(error, asyncio.CancelledError)
        status = STATUS if ended else status_of(error)
        await asyncio.to_thread(self._session.leave, status)
        if ended:
            raise SystemExit(STATUS) from None

    def __await__(self) -> Generator[Any, Any, Self]:
        return self._when_ready().__await__()

    async def _when_ready(self) -> Self:
        return self if self.scheduler_address else await self.__aenter__()

    def close(self) -> Any:
        """End the cluster; return an awaitable if asynchronous."""
        if self._asynchronous:
            return asyncio.to_thread(self._session.leave, 0)
        return self._session.leave(0)

    def wait_for_workers(self, n_workers: int, timeout: float | None = None) -> None:
        """Wait for workers, where options let the body begin before all are there."""
        from distributed import Client  # noqa: PLC0415  slow; the caller has loaded it

        address, material = self.scheduler_address, self.security
        with Client(address, security=material, set_as_default=False) as client:
            client.wait_for_workers(n_workers, timeout)

    def _enter(self) -> None:
        try:
            run = self._run()
        except RunnerError as error:
            # All ranks run into other errors than this one; one of them prints it.
            alone = isinstance(error, NestedError)
            if alone or prints_shared_errors(os.environ, self._choice):
                say(f"error: {error}")
            raise SystemExit(error.status) from None
        carry = partial(self._carry, self.exchange) if self.exchange else None
        self._session.enter(run, carry, partial(self._placed, run.plan))

    def _placed(self, plan: Plan, rank: int) -> None:
        self.rank, parts = rank, plan.roles(rank)
        self.role = next((role for role in (Role.client, *Role) if role in parts), None)

    def _carry(self, exchange: Exchange, text: str | None) -> str:
        with self._deadline("the broadcast by MPI"):
            return exchange(text)

    def _run(self) -> RunTop:
        settings = settle(self._given, configured(os.environ))
        world, is_counted, wanted = self._place(settings)
        refuse_nested(world, os.environ)
        if number := next(_clusters):
            world = replace(world, key=f"{world.key}-{number}" if world.key else "")
            wanted = wanted and replace(wanted, key=f"{wanted.key}-{number}")
        given = self._scheduler_options, self._worker_options, self._elsewhere
        protocols.check(settings, *given)
        plan = self.plan(world, settings.layout)
        check_spare(plan, world.size, settings.spare, on_one_node=world.is_one_node)
        if is_counted:
            self._placed(plan, world.rank)
        return RunTop(
            world=world,
            plan=plan,
            settings=settings.plain(),
            relay=wanted is None and self._relays(world, settings),
            scheduler_options=self._scheduler_options,
            worker_options=self._worker_options,
            worker_name=self._worker_name,
            script=_script(),
            scheduler_address=self._elsewhere,
            asked=wanted,
            counted=is_counted,
        )

    def _place(self, settings: Settings) -> tuple[World, bool, Asked | None]:
        """Return this process's place, whether it is known, and what a desk is told."""
        detects = type(self).world is BaseRunner.world and self._choice == "auto"
        wanted = asked(os.environ, settings) if detects else None
        if wanted is None:
            world = self.world(os.environ)
        elif (found := counted(os.environ, settings, wanted)) is not None:
            world = found
        else:
            return any_place(wanted), False, wanted
        meets = detects and settings.meet and world.size > 1
        return world, True, of_world(world) if meets else None

    def _relays(self, world: World, settings: Settings) -> bool:
        """Return whether :attr:`exchange` carries the record; it may become MPI's."""
        if settings.mpi_tasks and self.exchange is not None:
            raise ConfigError(
                f"{type(self).__name__} with mpi_tasks: this process is MPI's rank, "
                "so its worker cannot be",
                "one of the two",
                "use SlurmRunner or Runner with mpi_tasks, or MPIRunner without",
            )
        if settings.scheduler_file or settings.mpi_tasks:
            return False
        if self.exchange is None and world.meeting in ("mpi", "pmi"):
            with self._deadline("MPI_Init"):
                self.exchange = here.exchange(os.environ, world.size)
        return self.exchange is not None

    @property
    def _choice(self) -> str:
        """The launcher's name, as ``--launcher`` takes it."""
        return str(self._given.get("launcher") or self.launcher)

    def _deadline(self, call: str) -> AbstractContextManager[None]:
        """Return a context that kills this process if a call of all ranks hangs."""
        seconds = settle(self._given, configured(os.environ)).timeout
        prints = prints_shared_errors(os.environ, self._choice)
        return within(seconds, call, prints=prints)

    def configure(self) -> None:
        """Configure Dask in this process so that a bare ``Client()`` connects."""
        import dask  # noqa: PLC0415  slow; the user's program has loaded it

        from dask_runner.programs.sitehook.for_client import Link  # noqa: PLC0415

        dask.config.set({"scheduler-address": self.scheduler_address})
        ready = self._session.ready
        if ready.certificate:
            dask_tls.keep_in_memory()
            dask.config.set(tls.settings(ready.certificate, ready.private_key))
        if not self._elsewhere:
            Link.set(ready.dashboard)


def _script() -> str:
    """Return the path beside which this program's modules lie; "" if there is none.

    A program that is typed in, or started with ``-m``, has the working directory.
    """
    main = sys.modules.get("__main__")
    file, spec = getattr(main, "__file__", None), getattr(main, "__spec__", None)
    if not isinstance(file, str) or (spec is not None and spec.name != "__main__"):
        return ""
    # The program of a directory or an archive is its __main__.py.
    return str(Path(file).absolute() if spec is None else Path(file).absolute().parent)


def _path_of(worker_class: str | type | None) -> str | None:
    if isinstance(worker_class, type):
        return f"{worker_class.__module__}.{worker_class.__qualname__}"
    return worker_class
