"""dask-mpi's functions, for programs that were written for it.

Such a program changes one line: ``from dask_runner import initialize``. The launcher's
variables give the ranks, so no MPI is needed under Slurm or an mpiexec; ``comm`` takes
a communicator.
"""

from __future__ import annotations

import atexit
import sys
from typing import TYPE_CHECKING, Any

from dask_runner.errors import ConfigError
from dask_runner.launch.plan import Plan
from dask_runner.library.runners import BaseRunner, MPIRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mpi4py.MPI import Comm

    from dask_runner.launch.world import World

#: Parameters that both functions hand on to the runner unchanged.
RUNNER_OPTIONS = (
    "interface",
    "nthreads",
    "local_directory",
    "memory_limit",
    "nanny",
    "dashboard",
    "dashboard_address",
    "protocol",
    "worker_class",
    "worker_options",
)

#: The cluster that :func:`initialize` has started, until it is closed.
_current: list[BaseRunner] = []


def initialize(
    interface: str | None = None,
    nthreads: int = 1,
    local_directory: str | None = None,
    memory_limit: float | str = "auto",
    nanny: bool = True,
    dashboard: bool = True,
    dashboard_address: str | None = None,
    protocol: str | None = None,
    worker_class: str = "distributed.Worker",
    worker_options: Mapping[str, Any] | None = None,
    comm: Comm | None = None,
    exit: bool = True,  # noqa: A002  dask-mpi's name
) -> bool:
    """Start a Dask cluster of all ranks; return in the client's rank.

    Rank 0 schedules, rank 1 is the client, the others work. Afterwards ``Client()``
    without an address connects. When the client's program ends, the cluster and the
    other ranks end too.

    Parameters
    ----------
    interface : str, optional
        Network interface, such as "ib0".
    nthreads : int
        Threads of each worker.
    local_directory : str, optional
        Directory for data that workers spill.
    memory_limit : int, float or str
        Memory of each worker: bytes, a fraction of its share, "auto", or 0 for no
        limit.
    nanny : bool
        Whether a nanny watches each worker and restarts it.
    dashboard : bool
    dashboard_address : str, optional
        Opens a port for the dashboard, which anyone who reaches it can read. Default: a
        Unix socket that only you can open.
    protocol : str, optional
        "tls" (default) or "wss".
    worker_class : str
        A subclass of Worker or Nanny.
    worker_options : dict, optional
        More keywords for that class.
    comm : mpi4py.MPI.Comm, optional
        The ranks to use; default: all.
    exit : bool
        Whether the other ranks end with :class:`SystemExit`. If not, they return
        False, and the client has to call :func:`send_close_signal` at its end.

    Returns
    -------
    bool
        True in the client.

    Raises
    ------
    SystemExit
        In the other ranks when the cluster ends, or if it cannot start.
    """
    runner = _runner(comm, _runner_options(locals()))
    if not _enter(runner, leave=exit):
        return False
    if exit:
        # atexit runs the last hook first, so this one runs before Dask's own.
        atexit.register(_at_exit)
    return True


def execute(
    client_function: Callable[..., Any] | None = None,
    client_args: Sequence[Any] = (),
    client_kwargs: Mapping[str, Any] | None = None,
    client_rank: int = 1,
    scheduler: bool = True,
    scheduler_rank: int = 0,
    scheduler_address: str | None = None,
    scheduler_port: int | None = None,
    scheduler_file: str | None = None,
    interface: str | None = None,
    nthreads: int = 1,
    local_directory: str | None = None,
    memory_limit: float | str = "auto",
    nanny: bool = True,
    dashboard: bool = True,
    dashboard_address: str | None = None,
    protocol: str | None = None,
    exclusive_workers: bool = True,
    worker_class: str = "distributed.Worker",
    worker_options: Mapping[str, Any] | None = None,
    worker_name: str | None = None,
    comm: Comm | None = None,
) -> Any:
    """Run a function as the client of a Dask cluster of all ranks.

    It has the parameters of :func:`initialize`, and these:

    Parameters
    ----------
    client_function : callable, optional
        Runs in the client's rank. Without it there is no client, and the cluster
        lives until it is shut down or gets a signal.
    client_args, client_kwargs
        The arguments of that function.
    client_rank, scheduler_rank : int
        The ranks of the client and of the scheduler.
    scheduler : bool
        Whether to start a scheduler; if not, ``scheduler_address`` names it.
    scheduler_address : str, optional
    scheduler_port : int, optional
        Default: any free port.
    scheduler_file : str, optional
        File for the scheduler's address.
    exclusive_workers : bool
        Whether the ranks of the scheduler and the client have no workers.
    worker_name : str, optional
        Workers are named ``{worker_name}-{rank}`` instead of ``{rank}``.

    Returns
    -------
    object
        The function's result in the client's rank; None in the others, when the
        cluster has ended.

    Raises
    ------
    Exception
        The function's exception, in the client's rank.
    SystemExit
        In any rank, if the cluster failed.
    """
    shared = _runner_options(locals())
    if not scheduler and scheduler_address is None:
        raise ValueError("scheduler=False needs a scheduler_address")
    client = client_rank if callable(client_function) else None
    runner = _runner(
        comm,
        {
            **shared,
            "scheduler_file": scheduler_file,
            "scheduler_options": {"port": scheduler_port} if scheduler_port else None,
            "scheduler_address": None if scheduler else scheduler_address,
            "worker_name": worker_name,
        },
        _PlanOfExecute(
            scheduler_rank if scheduler else None, client, exclusive=exclusive_workers
        ),
    )
    is_client = _enter(runner, leave=False)
    if client_function is None or not is_client:
        return None
    try:
        return client_function(*client_args, **(client_kwargs or {}))
    finally:
        send_close_signal()


def send_close_signal() -> None:
    """End the cluster that :func:`initialize` has started; for the client."""
    if not _current:
        return
    runner = _current.pop()
    _close_clients()
    # The interpreter keeps the exception that ended the program here.
    failed = sys.exc_info()[1] or getattr(sys, "last_value", None)
    runner.__exit__(type(failed) if failed else None, failed, None)


def _at_exit() -> None:
    try:
        send_close_signal()
    except SystemExit:
        # The cluster was lost, and the program has ended with its status already.
        return


def _close_clients() -> None:
    from distributed import Client  # noqa: PLC0415  slow; the user has loaded it

    while True:
        try:
            Client.current().close()
        except ValueError:
            return


class _PlanOfExecute:
    """The roles of all ranks, as the parameters of :func:`execute` set them."""

    def __init__(
        self, scheduler: int | None, client: int | None, *, exclusive: bool
    ) -> None:
        self._scheduler = scheduler
        self._client = client
        self._exclusive = exclusive

    def __call__(self, world: World, layout: str) -> Plan:
        del layout
        taken = {rank for rank in (self._scheduler, self._client) if rank is not None}
        least = 1 + max(*taken, int(self._exclusive), 0)
        if world.size < least:
            raise ConfigError(
                f"{world.size} ranks for execute(client_rank={self._client}, "
                f"scheduler_rank={self._scheduler}, "
                f"exclusive_workers={self._exclusive})",
                f"at least {least} ranks",
                f"start {least} or more tasks, or give exclusive_workers=False",
            )
        workers = [
            rank
            for rank in range(world.size)
            if not (self._exclusive and rank in taken)
        ]
        return Plan(self._scheduler, self._client, tuple(workers))


def _runner_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the runner's options; dask-mpi's "" for a directory is none."""
    options = {name: given[name] for name in RUNNER_OPTIONS}
    return {**options, "local_directory": given["local_directory"] or None}


def _runner(
    comm: Comm | None, options: dict[str, Any], plan: _PlanOfExecute | None = None
) -> BaseRunner:
    runner = BaseRunner(**options) if comm is None else MPIRunner(comm, **options)
    if plan is not None:
        runner.plan = plan  # type: ignore[method-assign]  # the plan of one call
    return runner


def _enter(runner: BaseRunner, *, leave: bool) -> bool:
    """Start the cluster; return whether this is the client, still running."""
    try:
        runner.__enter__()
    except SystemExit as end:
        if leave or end.code:
            raise
        return False
    _current.append(runner)
    runner.configure()
    return True
