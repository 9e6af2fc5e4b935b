"""The ports at which a cluster may listen: ``--ports FIRST-LAST``."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from dask_runner.errors import AssemblyError, ConfigError

if TYPE_CHECKING:
    from dask_runner.launch.settings import Settings

#: A port of the system's choice.
ANY = range(1)

#: How messages name the option.
OPTION = "--ports"


def numbers(ports: str | None) -> range:
    """Return the ports to try in turn, which is ``ANY`` without a choice."""
    if not ports:
        return ANY
    first, _, last = ports.partition("-")
    return range(int(first), int(last) + 1)


def for_dask(ports: str) -> int | str:
    """Return a range as Dask's workers and nannies take it."""
    chosen = numbers(ports)
    return chosen[0] if len(chosen) == 1 else f"{chosen[0]}:{chosen[-1]}"


def none_free(what: str, ports: str) -> AssemblyError:
    """Return the error of a server that found no port in the range."""
    return AssemblyError(
        f"{what} on {socket.gethostname()} finds no free port among {OPTION} {ports}",
        "one for each server on a node: two for each worker (one without its nanny), "
        "and on rank 0's node one for the hub and one for the scheduler",
        f"give a larger range with {OPTION}, or see with ss -ltnp which programs, and "
        "which other jobs on this node, use it",
    )


def check(settings: Settings, workers: int, servers: int) -> None:
    """Refuse a range that is too small for one rank.

    Parameters
    ----------
    settings : Settings
    workers : int
        The rank's.
    servers : int
        What of it needs a port.

    Raises
    ------
    ConfigError
    """
    chosen = numbers(settings.ports)
    if chosen != ANY and len(chosen) < servers:
        raise ConfigError(
            f"{OPTION} {settings.ports} for {servers} servers of one rank, which has "
            f"{workers} {'worker' if workers == 1 else 'workers'}",
            f"{servers} ports or more, and as many for each other rank of its node",
            f"give a larger range with {OPTION}, or start fewer workers with "
            "--nworkers",
        )
