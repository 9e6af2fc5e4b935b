"""The instructions for a rank's processes: plain data, made from a Launch."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask_runner.launch.plan import Role
from dask_runner.meeting.addresses import of_interface
from dask_runner.node.program import STDIN
from dask_runner.resources.binding import bind
from dask_runner.resources.cpusets import from_list_format
from dask_runner.resources.cuda_workers import cuda_worker, is_fleet
from dask_runner.resources.rank_share import rank_share
from dask_runner.resources.worker_share import worker_shares

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_runner.hub.messages import Start
    from dask_runner.launch.launch import Launch, Program
    from dask_runner.launch.settings import Settings
    from dask_runner.resources.machine import Snapshot
    from dask_runner.resources.worker_share import WorkerShare


#: The warning about workers that have HTTP servers.
OPENED = (
    "worker_options has dashboard_address: anyone who reaches these ports of the "
    "workers can read them"
)


def host(settings: Settings, link_host: str) -> str:
    """Return the address to listen at: the one by which this rank reaches the hub.

    Raises
    ------
    ConfigError
        If the interface that the user named has no address.
    """
    found = of_interface(settings.interface) if settings.interface else link_host
    # Dask appends a colon and a port.
    return f"[{found}]" if ":" in found else found


def _protocol(settings: Settings) -> str:
    return str(settings.protocol or ("tls" if settings.security == "tls" else "tcp"))


def scheduler(launch: Launch, link_host: str, tls: Mapping[str, str]) -> dict[str, Any]:
    """Return the instructions for :mod:`dask_runner.programs.scheduler`."""
    settings, given = launch.settings, dict(launch.scheduler_options)
    own = {
        "protocol": _protocol(settings),
        "dashboard_address": settings.dashboard_address,  # None: no port
        **_place(settings, link_host, given),
    }
    return {
        "dashboard": given.pop("dashboard", settings.dashboard),
        "options": own | given,
        "modules": modules(launch),
        "environ": dict(tls),
    }


def _place(
    settings: Settings, link_host: str, given: Mapping[str, Any]
) -> dict[str, str]:
    """Return where to listen; Dask refuses a host together with an interface."""
    return {} if "interface" in given else {"host": host(settings, link_host)}


def client(
    program: Program,
    settings: Settings,
    environ: Mapping[str, str],
    text: bytes | None = None,
) -> dict[str, Any]:
    """Return the instructions for :mod:`dask_runner.programs.client`.

    *text* is the text of a program that can be read only once.
    """
    return {
        "text": None if text is None else base64.b64encode(text).decode(),
        "environ": dict(environ),
        "kind": program.kind,
        "target": program.target,
        "args": list(program.args),
        "report": settings.report,
    }


def work(
    launch: Launch, snapshot: Snapshot, start: Start, link_host: str, directory: Path
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the instructions for :mod:`dask_runner.programs.nannies`, and warnings.

    Raises
    ------
    ConfigError
        If an option about the workers is invalid on this node.
    """
    settings, world = launch.settings, launch.world
    local_rank = start.local_rank if world.local_rank is None else world.local_rank
    share = rank_share(
        snapshot,
        world.local_size or start.local_size,
        local_rank,
        hosts_hub=world.rank == 0 and Role.worker in launch.plan.roles(0),
        masks=[from_list_format(mask) for mask in start.masks] or None,
    )
    workers = worker_shares(
        share, settings.nworkers, settings.nthreads, settings.memory_limit
    )
    bound = bind(share, workers.value, allocated=world.launcher != "local").value
    common = {
        **_place(settings, link_host, launch.worker_options),
        "protocol": _protocol(settings),
        "local_directory": str(directory),
        "preload": list(settings.preload) or None,
        "resources": settings.resources,
    }
    prefix = f"{launch.worker_name}-{world.rank}" if launch.worker_name else world.rank
    each = [
        _worker(prefix if number == 0 else f"{prefix}-{number}", worker)
        for number, worker in enumerate(bound)
    ]
    fleet: dict[str, Any] = {}
    if is_fleet(settings):
        each, fleet = cuda_worker(share, each, settings, prefix)
    spec = {
        "scheduler": start.address,
        "worker_class": settings.worker_class,
        "modules": modules(launch),
        "common": {key: value for key, value in common.items() if value is not None},
        "options": dict(launch.worker_options),
        # A worker that is started again cannot be MPI's rank again.
        "nanny": settings.nanny and not settings.mpi_tasks and not fleet,
        "mpi_ranks": world.size if settings.mpi_tasks else 0,
        "workers": each,
        "fleet": fleet,
    }
    warnings = [*share.warnings, *workers.warnings]
    if launch.worker_options.get("dashboard_address") is not None:
        warnings.append(OPENED)
    return spec, tuple(warnings)


def _worker(name: int | str, share: WorkerShare) -> dict[str, Any]:
    return {
        "name": name,
        "nthreads": share.nthreads,
        "memory_limit": share.memory_limit or 0,
        "cpus": list(share.cpus),
        **({"env": share.environ} if share.environ else {}),
    }


def modules(launch: Launch) -> dict[str, Any]:
    """Return where the user's modules are.

    ``at`` has the program, beside which they lie, or a directory. ``added`` has the
    directories that a parent process has put on the path already. The processes that
    need the modules look at these paths themselves
    (:mod:`dask_runner.programs.user_modules`), because a path may lead to a file server
    that does not answer.
    """
    program = launch.program
    command = program is not None and program.kind == "command"
    if program is None and launch.script:
        at = [launch.script]
    elif program is None or program.kind != "script" or program.target == STDIN:
        at = [str(Path.cwd())]
    elif program.target.startswith(("/dev/", "/proc/")):
        at = []  # a pipe is in no directory
    else:
        at = [str(Path(program.target).absolute())]
    return {"at": at, "command": command, "added": []}
