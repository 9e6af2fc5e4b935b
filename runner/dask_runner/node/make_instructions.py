"""The instructions for a rank's processes, made from a Launch."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask_runner.launch import ports
from dask_runner.launch.plan import Role
from dask_runner.meeting.addresses import of_interface
from dask_runner.node.instructions import (
    Keys,
    Modules,
    RunClient,
    RunScheduler,
    RunWorkers,
)
from dask_runner.node.program import STDIN
from dask_runner.resources.binding import bind
from dask_runner.resources.cpusets import from_list_format
from dask_runner.resources.cuda_workers import cuda_worker, in_words, is_fleet
from dask_runner.resources.rank_share import rank_share
from dask_runner.resources.worker_share import worker_shares

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_runner.hub.messages import Start
    from dask_runner.launch.launch import Launch, Program
    from dask_runner.launch.settings import Settings
    from dask_runner.meeting.record import Record
    from dask_runner.node.directory import RankDirectory
    from dask_runner.resources.machine import Snapshot
    from dask_runner.resources.rank_share import RankShare


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


def _workers_protocol(launch: Launch, scheduler: str) -> str:
    """Return the protocol of the workers; in a running cluster it is there already."""
    return scheduler.partition("://")[0] if launch.joins else _protocol(launch.settings)


def _prefix(launch: Launch, join: str) -> str | int:
    """Return the name of the rank's first worker."""
    rank = launch.world.rank
    if join:
        return f"{join}.{rank}"
    return f"{launch.worker_name}-{rank}" if launch.worker_name else rank


def scheduler(
    launch: Launch,
    link_host: str,
    environ: Mapping[str, str],
    record: Record,
    packages: str = "",
    copy: str = "",
) -> RunScheduler:
    """Return the instructions for the scheduler; *environ* is for Dask.

    *packages* is the directory of the cluster's packages, and *copy* the file of what
    the scheduler prints; both are empty for none.

    Raises
    ------
    ConfigError
        If an option about it is invalid on this node.
    """
    settings, given = launch.settings, dict(launch.scheduler_options)
    serves = launch.plan.client is None
    own = {
        "protocol": _protocol(settings),
        "dashboard_address": settings.dashboard_address,  # None: no port
        **_listens(settings, link_host, given),
    }
    return RunScheduler(
        dashboard=bool(given.pop("dashboard", settings.dashboard)),
        ports=settings.ports,
        options=own | given,
        modules=modules(launch, packages),
        environ=dict(environ),
        keys=_keys(record),
        # A script ends its cluster itself, however long it thinks or waits.
        idle_timeout=serves * (settings.idle_timeout or 0.0),
        no_client_timeout=serves * (settings.no_client_timeout or 0.0),
        labels=labels(launch, 1 if settings.nworkers in (None, 1) else 2),
        copy=copy,
    )


def _listens(
    settings: Settings, link_host: str, given: Mapping[str, Any]
) -> dict[str, str]:
    """Return where to listen; Dask refuses a host together with an interface."""
    return {} if "interface" in given else {"host": host(settings, link_host)}


def _ports(settings: Settings) -> dict[str, Any]:
    """Return where workers and their nannies may listen, as Dask takes it."""
    if not settings.ports:
        return {}
    chosen = ports.for_dask(settings.ports)
    watched = has_nannies(settings) or is_fleet(settings)
    return {"port": chosen} | ({"worker_port": chosen} if watched else {})


def _keys(record: Record) -> Keys:
    return Keys(*record.for_dask)


def client(
    program: Program,
    environ: Mapping[str, str],
    text: bytes | None,
    report: str | None = None,
) -> RunClient:
    """Return the instructions for the client; *environ* is for Dask.

    *text* is the text of a program that can be read only once.
    """
    encoded = None if text is None else base64.b64encode(text).decode()
    return RunClient(program, encoded, dict(environ), report)


def share_of(launch: Launch, snapshot: Snapshot, start: Start) -> RankShare:
    """Return the rank's share of its node."""
    world = launch.world
    local_rank = start.local_rank if world.local_rank is None else world.local_rank
    return rank_share(
        snapshot,
        world.local_size or start.local_size,
        local_rank,
        hosts_hub=launch.has_hub and Role.worker in launch.plan.roles(0),
        masks=[from_list_format(mask) for mask in start.masks] or None,
    )


def workers(
    launch: Launch,
    snapshot: Snapshot,
    directory: RankDirectory,
    start: Start,
    link_host: str,
    record: Record,
    join: str = "",
    packages: str = "",
) -> tuple[RunWorkers, tuple[str, ...]]:
    """Return the instructions for the rank's workers, and warnings.

    *packages* is the directory of the cluster's packages; empty for none.

    Raises
    ------
    ConfigError
        If an option about the workers is invalid on this node.
    """
    settings, world = launch.settings, launch.world
    share = share_of(launch, snapshot, start)
    shares = worker_shares(
        share, settings.nworkers, settings.nthreads, settings.memory_limit
    )
    bound = bind(share, shares.value, allocated=world.launcher != "local").value
    common = {
        **_listens(settings, link_host, launch.worker_options),
        "protocol": _workers_protocol(launch, start.address),
        "local_directory": str(directory.path),
        "preload": [*_in_packages(settings, packages), *settings.preload] or None,
        "resources": settings.resources,
        **_ports(settings),
    }
    prefix = _prefix(launch, join)
    # Dask sorts the names in what notebooks show: all are text where some have to be.
    if settings.nworkers is not None or len(bound) > 1:
        prefix = str(prefix)
    each = [
        one.named(prefix if number == 0 else f"{prefix}-{number}")
        for number, one in enumerate(bound)
    ]
    fleet = None
    if is_fleet(settings):
        each, fleet = cuda_worker(share, bound, settings, prefix)
        common["resources"] = in_words(settings.resources)
    each_has = 2 if has_nannies(settings) or fleet else 1
    needed = len(each) * each_has + 2 * launch.has_hub
    ports.check(settings, len(each), needed)
    logs = [directory.worker_log(number) for number in range(len(each))]
    copies = (
        directory.keep(log, str(one.name), f"worker-{one.name}")
        for log, one in zip(logs, each, strict=True)
    )
    run = RunWorkers(
        scheduler=start.address,
        worker_class=settings.worker_class,
        modules=modules(launch, packages),
        common={key: value for key, value in common.items() if value is not None},
        options=dict(launch.worker_options),
        nanny=has_nannies(settings),
        mpi_ranks=world.size if settings.mpi_tasks else 0,
        workers=tuple(each),
        ports=settings.ports,
        fleet=fleet,
        cpus=tuple(snapshot.cpus),
        directory=str(Path.cwd()),
        private=str(directory.path),
        logs=tuple(logs),
        environ=dict(directory.environment(directory.tls(record))),
        keys=_keys(record),
        labels=labels(launch, len(each)),
        copies=tuple(copies),
    )
    warnings = [*share.warnings, *shares.warnings]
    if launch.worker_options.get("dashboard_address") is not None:
        warnings.append(OPENED)
    return run, tuple(warnings)


def labels(launch: Launch, workers: int) -> bool:
    """Return whether what is printed is labelled, where a rank has so many workers.

    A run with one worker has nothing to tell apart. A cluster that is served may get
    more.
    """
    if launch.settings.label is not None:
        return bool(launch.settings.label)
    alone = launch.world.size == 1 and workers == 1 and not launch.joins
    return not alone or launch.plan.client is None


def has_nannies(settings: Settings) -> bool:
    """Return whether the agent's nannies watch the workers."""
    # A worker that is started again cannot be MPI's rank again.
    return bool(settings.nanny) and not settings.mpi_tasks and not is_fleet(settings)


def _in_packages(settings: Settings, packages: str) -> tuple[str, ...]:
    """Return the modules to preload that the agent may not have had when it began."""
    return tuple(settings.preload_modules) if packages else ()


def modules(launch: Launch, packages: str = "") -> Modules:
    """Return where the user's modules are, and the cluster's *packages*."""
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
    return Modules(tuple(at), command, packages=packages)
