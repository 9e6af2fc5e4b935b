"""The library's way in: ``with SlurmRunner() as runner, Client(runner) as client:``.

Every rank runs the user's script up to the ``with``. There the client's rank
goes on into the body; the others play their part until the cluster ends and then
leave with :class:`SystemExit`. Each rank's part is played by a process of its
own (:mod:`dask_runner.programs.top`), the same as on the command line.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
from dataclasses import asdict, replace
from itertools import count
from typing import TYPE_CHECKING, Any, Self

from dask_runner import guard, image, pmi, roles, runner, security, surroundings
from dask_runner import messages as m
from dask_runner.body import Body, end_with
from dask_runner.channel import BlockingChannel
from dask_runner.deadline import within
from dask_runner.errors import ConfigError, RunnerError
from dask_runner.launchers import detect, may_be_outlived, speaks
from dask_runner.options import BY_KEY
from dask_runner.report import say
from dask_runner.roles import Plan, Role
from dask_runner.settings import configured, settle
from dask_runner.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from contextlib import AbstractContextManager
    from types import TracebackType

    from distributed import Security
    from mpi4py.MPI import Comm

    from dask_runner.settings import Settings

#: Counts the clusters that this process has entered. The ranks run one script,
#: so they agree; a second cluster must not meet by the first one's record.
_clusters = count()

#: Seconds beyond the grace for the rank's processes to end after the body.
END = 20.0


class BaseRunner:
    """A Dask cluster of the ranks that run this script.

    Subclass it for a system that is not known here: override :meth:`world`, and
    :meth:`exchange` if the ranks have a better way to meet than a file.

    Parameters
    ----------
    layout : {"dedicated", "shared"}
        "dedicated": rank 0 schedules, rank 1 is the client, the others work;
        "shared": every rank works, rank 0 is the client as well.
    scheduler_options, worker_options : mapping, optional
        Further keywords for Dask's ``Scheduler`` and for its workers (or
        nannies), as JSON can carry them.
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
        On entering, when there is no such world or an option makes no sense.
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
        self._given = {**options, "layout": layout or self.layout}
        self._given["worker_class"] = _path_of(worker_class)
        self._scheduler_options = dict(scheduler_options or {})
        self._worker_options = dict(worker_options or {})
        self._worker_name = worker_name or ""
        self._elsewhere = scheduler_address or ""
        self._asynchronous = asynchronous
        self._top: subprocess.Popen[bytes] | None = None
        self._channel: BlockingChannel | None = None
        self._ready: m.Ready | None = None
        self._body = Body()
        self._leaving = False
        self.rank: int | None = None
        self.role: Role | None = None
        self.status = "created"
        # Client(runner) uses a loop of its own where this is None.
        self.loop = None

    # --- for subclasses -----------------------------------------------------

    def world(self, environ: Mapping[str, str]) -> World:
        """Find this process's place; by default from the launcher's variables.

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
        world = detect(environ, str(self._given.get("launcher") or self.launcher))
        return world or runner.alone()

    #: ``exchange(text)`` is called in every rank: in rank 0 with the record's
    #: text, in the others with None, and returns the text in all. None here: the
    #: ranks meet as their launcher's row says.
    exchange: Callable[[str | None], str] | None = None

    def plan(self, world: World, layout: str) -> Plan:
        """Give the ranks their parts."""
        return roles.plan(world.size, layout)

    # --- what Client(runner) and the user read ------------------------------

    @property
    def scheduler_address(self) -> str:
        """The scheduler's address."""
        return self._ready.address if self._ready else ""

    @property
    def dashboard_link(self) -> str:
        """The dashboard, as seen on the scheduler's node; empty without one."""
        return self._ready.dashboard if self._ready else ""

    @property
    def n_workers(self) -> int:
        """How many workers the cluster has when it is ready."""
        return self._ready.nworkers if self._ready else 0

    @property
    def security(self) -> Security | None:
        """The cluster's TLS material; None without security."""
        if self._ready is None:
            return None
        return security.as_security(self._ready.certificate, self._ready.private_key)

    @property
    def asynchronous(self) -> bool:
        """Whether it is used by ``async with``."""
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
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exit(_status_of(error))

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._enter)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self._exit, _status_of(error))

    def __await__(self) -> Generator[Any, Any, Self]:
        return self._when_ready().__await__()

    async def _when_ready(self) -> Self:
        return self if self._ready is not None else await self.__aenter__()

    def close(self) -> Any:
        """End the cluster; returns an awaitable if asynchronous."""
        if self._asynchronous:
            return asyncio.to_thread(self._exit, 0)
        return self._exit(0)

    def wait_for_workers(self, n_workers: int, timeout: float | None = None) -> None:
        """Wait for workers; all of them are there when the body begins."""
        from distributed import Client  # noqa: PLC0415  the caller has it

        address, material = self.scheduler_address, self.security
        with Client(address, security=material, set_as_default=False) as client:
            client.wait_for_workers(n_workers, timeout)

    def _enter(self) -> None:
        try:
            spec = self._spec()
        except RunnerError as error:
            # All ranks see it alike; one of them says it.
            if speaks(os.environ, str(self._given.get("launcher") or self.launcher)):
                say(f"error: {error}")
            raise SystemExit(error.status) from None
        self.status = "starting"
        self._start_top()
        self._keep_watch(spec)
        assert self._channel is not None  # noqa: S101  started
        self._channel.send(m.Run(spec))
        while True:
            message = self._channel.receive()
            if isinstance(message, m.Relay):
                self._relay(message.record)
            elif isinstance(message, m.Ready):
                self._ready = message
                self.status = "running"
                self._body.begin()
                threading.Thread(target=self._watch, daemon=True).start()
                return
            else:
                # The end of the cluster, for all but a client that has begun.
                self._channel.send(m.ClientEnded(0, ""))
                raise SystemExit(self._wait())

    def _spec(self) -> dict[str, Any]:
        world = self.world(os.environ)
        if number := next(_clusters):
            world = replace(world, key=f"{world.key}-{number}" if world.key else "")
        settings = settle(self._given, configured(os.environ))
        plan = self.plan(world, settings.layout)
        self.rank = world.rank
        parts = plan.roles(world.rank)
        self.role = next((role for role in (Role.client, *Role) if role in parts), None)
        return {
            "world": asdict(world),
            "scheduler": plan.scheduler,
            "client": plan.client,
            "workers": list(plan.workers),
            "settings": settings.plain(),
            "relay": self._relays(world, settings),
            "scheduler_options": self._scheduler_options,
            "worker_options": self._worker_options,
            "worker_name": self._worker_name,
            "scheduler_address": self._elsewhere,
        }

    def _relays(self, world: World, settings: Settings) -> bool:
        """Say whether the record goes by :attr:`exchange`, which may be MPI's."""
        if settings.mpi_tasks and self.exchange is not None:
            raise ConfigError(
                f"{type(self).__name__} with mpi_tasks: this process is MPI's rank, "
                "so that its worker cannot be",
                "one of the two",
                "SlurmRunner or Runner with mpi_tasks, or MPIRunner without",
            )
        if settings.scheduler_file or settings.mpi_tasks:
            return False
        if self.exchange is None and world.rendezvous in ("mpi", "pmi"):
            with self._deadline("MPI_Init"):
                self.exchange = _mpi_exchange(world)
        return self.exchange is not None

    def _deadline(self, call: str) -> AbstractContextManager[None]:
        """Bound a call that waits for all ranks."""
        speaking = speaks(os.environ, str(self._given.get("launcher") or self.launcher))
        seconds = settle(self._given, configured(os.environ)).timeout
        return within(seconds, call, speaks=speaking)

    def configure(self) -> None:
        """Let ``Client()`` without an address connect, in this process."""
        import dask  # noqa: PLC0415  the user's program has it

        dask.config.set({"scheduler-address": self.scheduler_address})
        if self._ready is not None and self._ready.certificate:
            material = security.settings(
                self._ready.certificate, self._ready.private_key
            )
            dask.config.set(material)

    def _start_top(self) -> None:
        ours, theirs = socket.socketpair()
        # No MPI here has taken the launcher's socket, so the ranks meet over it.
        launcher = pmi.descriptor(os.environ) if self.exchange is None else None
        sockets = [] if launcher is None else [launcher]
        with theirs:
            self._top = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "dask_runner.programs.top",
                    str(theirs.fileno()),
                    os.devnull,
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno(), *sockets],
                process_group=0,
            )
        self._channel = BlockingChannel(ours)

    def _keep_watch(self, spec: Mapping[str, Any]) -> None:
        """End a top process that stands still, and this one with its launcher."""
        silence, launcher = spec["settings"]["silence"], spec["world"]["launcher"]
        threading.Thread(
            target=end_with,
            args=(self._top, silence),
            kwargs={"launched": may_be_outlived(launcher)},
            daemon=True,
        ).start()

    def _relay(self, text: str) -> None:
        assert self.exchange is not None  # noqa: S101  asked for in the spec
        assert self._channel is not None  # noqa: S101  it came over it
        with self._deadline("the broadcast by MPI"):
            record = self.exchange(text or None)
        self._channel.send(m.Relay(record))

    def _watch(self) -> None:
        """Interrupt the body when the cluster ends before it."""
        assert self._channel is not None  # noqa: S101  started
        message = self._channel.receive()
        while message is not None and not isinstance(message, m.Close):
            message = self._channel.receive()
        if not self._leaving:
            self._body.interrupt(message.status if isinstance(message, m.Close) else 69)

    def _exit(self, status: int) -> None:
        if self._top is None or self._leaving:
            return
        self._leaving = True
        self._body.over()
        self.status = "closing"
        assert self._channel is not None  # noqa: S101  started
        self._channel.send(m.ClientEnded(status, ""))
        self._wait()
        self.status = "closed"
        if self._body.status:
            raise SystemExit(self._body.status)

    def _wait(self) -> int:
        assert self._top is not None  # noqa: S101  started
        try:
            status = self._top.wait(END)
        except subprocess.TimeoutExpired:
            self._top.kill()
            status = self._top.wait()
        return status if status >= 0 else 128 - status


class Runner(BaseRunner):
    """A cluster of whatever started this script, in the layout "shared"."""

    layout = "shared"


class SlurmRunner(BaseRunner):
    """A cluster of the tasks of one ``srun``.

    Parameters
    ----------
    scheduler_file : str, optional
        Where the ranks meet, on a file system that all nodes share; ``{job_id}``
        is replaced. Default: the home directory.
    **options
        As for :class:`BaseRunner`.
    """

    launcher = "slurm"


SLURMRunner = SlurmRunner


class MPIRunner(BaseRunner):
    """A cluster of the ranks of an MPI program.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm, optional
        Default: ``COMM_WORLD``. Only its rank, size and one broadcast are used.
    **options
        As for :class:`BaseRunner`.
    """

    def __init__(self, comm: Comm | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._comm = comm
        self._whole = comm is None

    def world(self, environ: Mapping[str, str]) -> World:
        """Take the place from MPI, and what it leaves open from the launcher."""
        comm = self._communicator()
        found = self._launched(environ)
        if found is not None and found.size == comm.size and found.rank == comm.rank:
            return found
        if found is not None and self._whole:
            guard.refuse_world(environ, found.size, comm.size, _library_version())
        return World("mpi", comm.rank, comm.size, None, None, "mpi", "mpi", "mpi")

    def _launched(self, environ: Mapping[str, str]) -> World | None:
        return detect(environ, str(self._given.get("launcher") or self.launcher))

    def _communicator(self) -> Comm:
        if self._comm is None:
            _refuse_before_mpi()
            try:
                with self._deadline("MPI_Init"):
                    from mpi4py import MPI  # noqa: PLC0415  it initialises MPI
            except (ImportError, RuntimeError) as error:
                raise ConfigError(
                    f"mpi4py does not work: {error}",
                    "mpi4py and an MPI library",
                    "pip install mpi4py, or use SlurmRunner or the command line, "
                    "which need no MPI",
                ) from error
            self._comm = MPI.COMM_WORLD
        return self._comm

    def exchange(self, text: str | None) -> str:
        """Broadcast the record."""
        return str(self._communicator().bcast(text, root=0))


def _refuse_before_mpi() -> None:
    if "mpi4py.MPI" not in sys.modules:
        guard.refuse_before_mpi(
            os.environ, surroundings.look(os.environ), image.library(os.environ)
        )


def _mpi_exchange(world: World) -> Callable[[str | None], str] | None:
    _refuse_before_mpi()
    try:
        from mpi4py import MPI  # noqa: PLC0415  it initialises MPI
    except (ImportError, RuntimeError):
        return None
    guard.refuse_world(os.environ, world.size, MPI.COMM_WORLD.size, _library_version())
    return lambda text: str(MPI.COMM_WORLD.bcast(text, root=0))


def _library_version() -> str:
    from mpi4py import MPI  # noqa: PLC0415  it is there, and initialised

    return str(MPI.Get_library_version())


def _path_of(worker_class: str | type | None) -> str | None:
    if isinstance(worker_class, type):
        return f"{worker_class.__module__}.{worker_class.__qualname__}"
    return worker_class


def _status_of(error: BaseException | None) -> int:
    match error:
        case None:
            return 0
        case SystemExit(code=None):
            return 0
        case SystemExit(code=int(code)):
            return code
        case KeyboardInterrupt():
            return 130
    return 1
