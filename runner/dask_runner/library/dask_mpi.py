"""dask-mpi's functions, for programs that were written for it.

``from dask_runner import initialize`` in place of ``from dask_mpi import
initialize`` is the whole change. Ranks come from the launcher, so that no MPI is
needed where the launcher tells (Slurm, mpiexec); ``comm`` takes a communicator.
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

#: What both functions take and give to the runner as it is.
SHARED = (
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

#: The cluster that :func:`initialize` has made, until it is closed.
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
    """Make a Dask cluster of all ranks; the client's rank goes on.

    Rank 0 schedules, rank 1 returns as the client, the others work. After it,
    ``Client()`` without an address connects. When the client's program ends, the
    cluster ends, and with it the other ranks.

    Parameters
    ----------
    interface : str, optional
        Network interface, as "ib0".
    nthreads : int
        Threads of a worker.
    local_directory : str, optional
        Where workers spill to.
    memory_limit : int, float or str
        Of a worker: bytes, a fraction of its share, "auto", or 0 for none.
    nanny : bool
        Whether a nanny watches each worker and restarts it.
    dashboard : bool
    dashboard_address : str, optional
        Opens a port that all who reach it can read. Default: a Unix socket of yours.
    protocol : str, optional
        "tls" (default) or "wss".
    worker_class : str
        A subclass of Worker or Nanny.
    worker_options : dict, optional
        Further keywords for it.
    comm : mpi4py.MPI.Comm, optional
        The ranks to use instead of all.
    exit : bool
        Whether the other ranks end with :class:`SystemExit`; if not, they return
        False, and the client calls :func:`send_close_signal` at its end.

    Returns
    -------
    bool
        True in the client.

    Raises
    ------
    SystemExit
        In the other ranks when the cluster ends, or if it cannot start.
    """
    runner = _runner(comm, _shared(locals()))
    if not _enter(runner, leave=exit):
        return False
    if exit:
        # Before Dask's own hooks, which run later because they came earlier.
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

    Parameters are those of :func:`initialize`, and:

    Parameters
    ----------
    client_function : callable, optional
        Runs in the client's rank; without it there is no client, and the cluster
        lives until it is shut down from outside or signalled.
    client_args, client_kwargs
        Its arguments.
    client_rank, scheduler_rank : int
        Who plays which part.
    scheduler : bool
        Whether to start one; if not, ``scheduler_address`` names it.
    scheduler_address : str, optional
    scheduler_port : int, optional
        Default: any.
    scheduler_file : str, optional
        Where to write the scheduler's address.
    exclusive_workers : bool
        Whether the scheduler's and the client's rank do not work as well.
    worker_name : str, optional
        Workers are named ``{worker_name}-{rank}`` instead of ``{rank}``.

    Returns
    -------
    object
        What the function returned, in the client's rank; None in the others,
        when the cluster has ended.

    Raises
    ------
    Exception
        What the function raised, in the client's rank.
    SystemExit
        In any rank, if the cluster failed.
    """
    shared = _shared(locals())
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
        _Parts(
            scheduler_rank if scheduler else None, client, exclusive=exclusive_workers
        ),
    )
    if not _enter(runner, leave=False):
        return None
    assert client_function is not None  # noqa: S101  only then is there a client
    try:
        return client_function(*client_args, **(client_kwargs or {}))
    finally:
        send_close_signal()


def send_close_signal() -> None:
    """End the cluster that :func:`initialize` made; called by the client."""
    if not _current:
        return
    runner = _current.pop()
    _close_clients()
    # An exception that ended the program is kept here by the interpreter.
    failed = sys.exc_info()[1] or getattr(sys, "last_value", None)
    runner.__exit__(type(failed) if failed else None, failed, None)


def _at_exit() -> None:
    try:
        send_close_signal()
    except SystemExit:
        # Of a cluster that was lost: the program has ended with that status already.
        return


def _close_clients() -> None:
    from distributed import Client  # noqa: PLC0415  the user's program has it

    while True:
        try:
            Client.current().close()
        except ValueError:
            return


class _Parts:
    """execute's way to give the ranks their parts."""

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


def _shared(given: Mapping[str, Any]) -> dict[str, Any]:
    """Pick them from a function's arguments; dask-mpi's "" is no directory."""
    options = {name: given[name] for name in SHARED}
    return {**options, "local_directory": given["local_directory"] or None}


def _runner(
    comm: Comm | None, options: dict[str, Any], parts: _Parts | None = None
) -> BaseRunner:
    runner = BaseRunner(**options) if comm is None else MPIRunner(comm, **options)
    if parts is not None:
        runner.plan = parts  # type: ignore[method-assign]  # one call's own plan
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
