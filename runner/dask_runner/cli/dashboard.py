"""``dask-runner dashboard``: show a cluster's dashboard to a browser of its owner.

Each request goes over the hub, so that no port of a node has to be reachable from here,
or open at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask_runner.errors import ConfigError, LostError, UsageError
from dask_runner.hub.ask import SilentError, ask, silent
from dask_runner.hub.report import say
from dask_runner.hub.requests import AskState, State
from dask_runner.meeting import cluster_directory, which_cluster
from dask_runner.proxy import peers, places
from dask_runner.proxy.access import Secrets
from dask_runner.proxy.clusters import All, One
from dask_runner.proxy.scraping import Scraping
from dask_runner.proxy.server import Server
from dask_runner.proxy.watch import Watch, check

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Mapping

    from dask_runner.proxy.clusters import Clusters

#: They end it in order: that is how one leaves it.
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def show(
    name: str | None,
    port: int | None,
    path: str | None,
    environ: Mapping[str, str],
    write: Callable[[str], None],
    *,
    prometheus: bool,
) -> int:
    """Show dashboards until the cluster ends, or a signal comes; return the status.

    Parameters
    ----------
    name : str or None
        The cluster's; None for the one that the user has.
    port : int or None
        A port of loopback; None for Dask's usual one, or the next free one.
    path : str or None
        A Unix socket for all clusters, in place of a port for one.
    environ : mapping
    write : callable
        Gets the link.
    prometheus : bool
        Whether a Prometheus server of the user's is to find the metrics.

    Raises
    ------
    RunnerError
        If there is no such cluster, or it is lost, or has no dashboard; or the port or
        socket cannot be had.
    """
    if path is not None:
        others = {"--port": port is not None, "--prometheus": prometheus}
        for option in (name for name, given in others.items() if given):
            raise UsageError(
                f"both {option} and --socket",
                "one place to listen at",
                "leave one of them out",
            )
        with places.unix_socket(Path(path)) as sock:
            asyncio.run(_show_all(All(name, environ), sock))
        return 0
    entry, named = which_cluster.choose(name, environ)
    cluster = One(entry, named)
    asyncio.run(_reach(cluster))
    if not peers.tells():
        raise ConfigError(
            "/proc/net/tcp cannot be read, so nobody tells whose a connection is",
            "a kernel that tells which account connects to a port",
            "use --socket PATH, and a browser that comes through ssh -L PORT:PATH",
        )
    scraping = Scraping.of(entry.name, environ) if prometheus else None
    with places.port(port) as sock:
        return asyncio.run(_show_one(cluster, sock, write, scraping))


async def _reach(cluster: One) -> None:
    try:
        check(cluster, await ask(cluster.named.record, AskState(), State))
    except SilentError as why:
        age = cluster_directory.age(cluster.entry.path)
        raise silent(cluster.entry.name, cluster.named.record, age, why) from why


async def _show_one(
    cluster: One,
    sock: socket.socket,
    write: Callable[[str], None],
    scraping: Scraping | None,
) -> int:
    port = sock.getsockname()[1]
    own = Secrets.new(port, scraping.token if scraping else "")
    name, node = cluster.entry.name, cluster.named.record.node
    watching = asyncio.create_task(Watch(cluster).ended())
    async with _serving(cluster, sock, own) as signalled:
        # It ends first: afterwards the port is anybody's again.
        with scraping.at(port) if scraping else contextlib.nullcontext():
            if scraping:
                say(
                    f"Prometheus on this host finds the metrics of {name} by "
                    f"{scraping.targets}, with the token in {scraping.credentials}"
                )
            say(f"the dashboard of {name} on {node} is at this link; Ctrl-C ends this")
            write(own.link)
            ends: list[asyncio.Future[Any]] = [watching, signalled]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    if not watching.done():
        watching.cancel()
        return 0
    status = watching.result()
    if status == LostError.status:
        say(f"the cluster {name} is lost: it has ended with status {status}")
        return status
    say(f"the cluster {name} has ended")
    return 0


async def _show_all(clusters: All, sock: socket.socket) -> None:
    async with _serving(clusters, sock, None) as signalled:
        say(f"the dashboards are at {sock.getsockname()}; Ctrl-C ends this")
        await signalled


@contextlib.asynccontextmanager
async def _serving(
    clusters: Clusters, sock: socket.socket, own: Secrets | None
) -> AsyncIterator[asyncio.Future[None]]:
    """Serve while the body runs, which is told of a signal."""
    signalled = asyncio.get_running_loop().create_future()
    for number in _ENDS:
        # nohup has a signal ignored, and that stays so.
        if signal.getsignal(number) != signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, _once, signalled)
    server = Server(clusters, own)
    server.open(sock)
    try:
        yield signalled
    finally:
        await server.shut()


def _once(signalled: asyncio.Future[None]) -> None:
    if not signalled.done():
        signalled.set_result(None)
