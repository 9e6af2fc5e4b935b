"""Where Dask's processes listen, so that no port answers without the cluster's keys.

Dask's HTTP servers authenticate nobody. The scheduler's listens on a Unix socket that
only its user can open, and workers have none, unless the user names a port. Dask starts
the servers in ``ServerNode.start_http_server`` and its websockets in
``WSListener.start``; distributed 2025.1, 2025.11 and 2026.8 do so alike.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import weakref
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import dask.config
import distributed
from distributed.comm import (
    backends,
    get_tcp_server_addresses,
    parse_address,
    parse_host_port,
    unparse_address,
    unparse_host_port,
    ws,
)
from distributed.core import Status
from distributed.http.routing import RoutingApplication
from distributed.scheduler import WorkerStatusPlugin
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_unix_socket
from tornado.web import Application

from dask_runner.launch import ports
from dask_runner.launch.numbers import parse_digits_or_none
from dask_runner.programs import metrics, unused_memory
from dask_runner.programs.work_done import WorkDone

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: Bytes that the path of a Unix socket may have (unix(7)).
MOST_PATH_BYTES = 107

_CLOSED = (Status.closing, Status.closed)
#: Of a worker that does not leave in order.
_WORKING = (Status.running, Status.paused)

#: The name of the socket in the rank's private directory.
DASHBOARD = "dashboard"

#: Dask's settings that name the modules of its HTTP servers' pages.
_ROUTES = "distributed.scheduler.http.routes"
_WORKERS_ROUTES = "distributed.worker.http.routes"


class Scheduler(distributed.Scheduler):  # type: ignore[misc]  # Dask has no types
    """Dask's scheduler, with its HTTP server on a Unix socket unless a port is named.

    Parameters
    ----------
    private : Path or None
        A directory that only this user can enter; None for no HTTP server.
    among : str or None
        The ports that it may listen at (``--ports``), unless the user names one.
    **options
        As for Dask's scheduler.

    Attributes
    ----------
    pages, readers : str
        The address of its pages, and who can read them, as in ``SchedulerUp``.
    before_close : callable
        Is called with Dask's reason when the scheduler begins to close.
    work : WorkDone
        Counts what is computed.
    """

    def __init__(self, private: Path | None, among: str | None, **options: Any) -> None:
        self._private = private
        self._among = among
        self.pages = self.readers = ""
        self._on_loopback = False
        self._watchers = count()
        self.before_close: Callable[[str], None] = _nothing
        with dask.config.set({_ROUTES: _with_our_metrics(dask.config.get(_ROUTES))}):
            super().__init__(**options)
        self.work = WorkDone(self)
        self.add_plugin(self.work)

    async def listen(
        self, port_or_addr: Any = None, *args: Any, **options: Any
    ) -> None:
        """Listen at one of the ports; Dask calls this, for one of the system's choice.

        Dask's workers and nannies try a range by themselves.
        """
        scheme, place = parse_address(str(port_or_addr))
        host, port = parse_host_port(place, 0)
        if self._among is None or port:
            await super().listen(port_or_addr, *args, **options)
            return
        for number in ports.numbers(self._among):
            address = unparse_address(scheme, unparse_host_port(host, number))
            try:
                await super().listen(address, *args, **options)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return
        raise ports.none_free("the scheduler", self._among)

    async def remove_worker(self, address: str, *args: Any, **options: Any) -> Any:
        """Remove a worker; note what is lost with it."""
        worker = self.workers.get(address)
        if worker is not None and not options.get("expected"):
            self.work.loses(worker, at_work=worker.status in _WORKING)
        return await super().remove_worker(address, *args, **options)

    async def close(self, *args: Any, **options: Any) -> None:
        """Close, and say so before the workers close with it."""
        if self.status not in _CLOSED:
            self.before_close(options.get("reason", ""))
        await super().close(*args, **options)

    def start_http_server(
        self,
        routes: list[Any],
        dashboard_address: Any,
        default_port: int = 0,
        ssl_options: Any = None,
    ) -> None:
        """Start the HTTP server where the user wants it; Dask calls this."""
        if self._private is None or dashboard_address is None:
            _serve_nowhere(self, routes)
            self.services["dashboard"] = self.http_server
            if self._private is not None:
                self.pages = reachable(self._private, DASHBOARD)
                self.http_server.add_socket(bind_unix_socket(self.pages))
            return
        super().start_http_server(routes, dashboard_address, default_port, ssl_options)
        encrypted = dask.config.get("distributed.scheduler.dashboard.tls.cert")
        ports = [_Port(*one[:2]) for one in get_tcp_server_addresses(self.http_server)]
        self.pages = f"{'https' if encrypted else 'http'}://{ports[0]}"
        self.readers = " and ".join(port.readers for port in ports)
        self._on_loopback = ports[0].address.is_loopback

    def subscribe_worker_status(self, comm: Any) -> Any:
        """Tell a cluster object of workers that come and go; Dask calls this.

        Dask has one cluster object a scheduler, and a second would take the place of
        the first.
        """
        watching = [
            (name, one.bcomm)
            for name, one in self.plugins.items()
            if isinstance(one, WorkerStatusPlugin)
        ]
        for name, line in watching:
            if line.closed():
                self.remove_plugin(name)
        found = super().subscribe_worker_status(comm)
        watcher = self.plugins.pop(WorkerStatusPlugin.name)
        watcher.name = f"{watcher.name}-{next(self._watchers)}"
        self.plugins[watcher.name] = watcher
        return found

    def coerce_address(self, addr: Any, resolve: bool = True) -> Any:
        """Return the address of a worker; the number 3 and the text "3" name the same.

        Dask takes a name that it does not know for a host's, and waits for that host.
        """
        same = str(addr) if isinstance(addr, int) else parse_digits_or_none(str(addr))
        if addr not in self.aliases and same in self.aliases:
            addr = same
        return super().coerce_address(addr, resolve)

    def identity(self, *args: Any, **options: Any) -> Any:
        """Return Dask's description of the scheduler, without a port on loopback.

        Clients build the dashboard's link from the scheduler's address and this port,
        and that address does not reach loopback. A template of the user without a host
        (for a proxy) needs the port alone.
        """
        found = super().identity(*args, **options)
        template = dask.config.get("distributed.dashboard.link")
        if self._on_loopback and "{host}" in template:
            found["services"] = {**found["services"], "dashboard": None}
        return found


def _with_our_metrics(modules: list[str]) -> list[str]:
    return [metrics.__name__ if one == metrics.OF_SCHEDULER else one for one in modules]


def _nothing(reason: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class _Port:
    """A port at which an HTTP server listens."""

    host: str
    number: int

    @property
    def address(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
        return ipaddress.ip_address(self.host)

    @property
    def readers(self) -> str:
        on_loopback = f"every account on {socket.gethostname()}"
        return on_loopback if self.address.is_loopback else f"anyone who reaches {self}"

    def __str__(self) -> str:
        host = socket.gethostname() if self.address.is_unspecified else self.host
        return str(unparse_host_port(host, self.number))


def reachable(directory: Path, name: str) -> str:
    """Return a path for a socket in a directory, short enough for unix(7).

    The path works while this process lives, and for its own user alone.
    """
    path = str(directory / name)
    if len(os.fsencode(path)) <= MOST_PATH_BYTES:
        return path
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    return f"/proc/{os.getpid()}/fd/{descriptor}/{name}"


@dataclass(frozen=True)
class OwnWorker:
    """Makes workers of a class, which tell their metrics and give free memory back.

    It is called in place of the class. It replaces methods in each worker, so it works
    with any class of the user's.

    Attributes
    ----------
    kind : type or callable
        The class.
    has_port : bool
        Whether they have HTTP servers, as the user wants it.
    """

    kind: Any
    has_port: bool

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Return a worker that is not started yet."""
        worker = self.kind(*args, **options)
        metrics.answer(worker)
        unused_memory.manage(worker)
        if not self.has_port:
            # Dask would import what its pages need.
            dask.config.set({_WORKERS_ROUTES: []})
            worker.start_http_server = partial(_serve_nowhere, worker)
        return worker


def _serve_nowhere(node: Any, routes: list[Any], *_: Any) -> None:
    """Set the attributes that Dask's other code expects, without a socket."""
    node.http_application = RoutingApplication(routes)
    node.http_server = HTTPServer(node.http_application)
    node.http_server.port = None


class _Listener(ws.WSSListener):  # type: ignore[misc]  # as above
    """Dask's listener for ``wss``, at one address: Dask's own listens at all of them.

    It asks for the cluster's certificate, as ``tls`` does. It never shares a port with
    the dashboard, which asks for none.
    """

    async def start(self) -> None:
        """Listen at the given host."""
        options = {
            "handler": self.handler,
            "deserialize": self.deserialize,
            "allow_offload": self.allow_offload,
            "listener": weakref.ref(self),
        }
        application = Application([(r"/", ws.WSHandler, options)])
        self.server = HTTPServer(application, **self.server_args)
        self.server.listen(self.port, self.ip)


class _Backend(ws.WSSBackend):  # type: ignore[misc]  # as above
    _listener_class = _Listener


# As Dask registers its own.
backends["wss"] = _Backend()
