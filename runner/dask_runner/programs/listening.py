"""Where Dask's processes listen: nothing of theirs answers on a port without the keys.

Their HTTP servers ask nobody who he is. The scheduler's is on a Unix socket that its
user alone may open, a worker's nowhere, unless the user has named a port. Dask starts
them by ``ServerNode.start_http_server``, and its websockets by ``WSListener.start``:
compared in distributed 2025.1, 2025.11 and 2026.8, which do so alike.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import weakref
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import dask.config
import distributed
from distributed.comm import backends, get_tcp_server_addresses, unparse_host_port, ws
from distributed.http.routing import RoutingApplication
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_unix_socket
from tornado.web import Application

if TYPE_CHECKING:
    from pathlib import Path

#: Bytes that the path of a UNIX socket may have (unix(7)).
LONGEST = 107

#: The name of the socket in the rank's private directory.
DASHBOARD = "dashboard"


class Scheduler(distributed.Scheduler):  # type: ignore[misc]  # Dask has no types
    """Dask's, whose HTTP server is on a Unix socket unless a port is named.

    Parameters
    ----------
    private : Path or None
        A directory that only this user can enter; None for no HTTP server.
    **options
        As for Dask's.

    Attributes
    ----------
    pages, readers : str
        Where its pages are, and who can read them, as ``SchedulerUp`` says it.
    """

    def __init__(self, private: Path | None, **options: Any) -> None:
        self._private = private
        self.pages = self.readers = ""
        self._on_loopback = False
        super().__init__(**options)

    def start_http_server(
        self,
        routes: list[Any],
        dashboard_address: Any,
        default_port: int = 0,
        ssl_options: Any = None,
    ) -> None:
        """Serve where the user wants it; Dask calls it when it makes one."""
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

    def identity(self, *args: Any, **options: Any) -> Any:
        """Say who we are, without a port of which clients would make a wrong link.

        Dask makes it of the scheduler's own address, at which nothing of loopback is.
        A template of the user's that has no host (a proxy's) needs the port alone.
        """
        found = super().identity(*args, **options)
        template = dask.config.get("distributed.dashboard.link")
        if self._on_loopback and "{host}" in template:
            found["services"] = {**found["services"], "dashboard": None}
        return found


@dataclass(frozen=True)
class _Port:
    """One at which an HTTP server listens."""

    host: str
    number: int

    @property
    def address(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
        return ipaddress.ip_address(self.host)

    @property
    def readers(self) -> str:
        on_loopback = f"every account on {socket.gethostname()}"
        return on_loopback if self.address.is_loopback else f"all who reach {self}"

    def __str__(self) -> str:
        host = socket.gethostname() if self.address.is_unspecified else self.host
        return str(unparse_host_port(host, self.number))


def reachable(directory: Path, name: str) -> str:
    """Return a path of a socket in a directory that is short enough for one (unix(7)).

    It is good for as long as this process lives, and for its own user alone.
    """
    path = str(directory / name)
    if len(os.fsencode(path)) <= LONGEST:
        return path
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    return f"/proc/{os.getpid()}/fd/{descriptor}/{name}"


@dataclass(frozen=True)
class WithoutPort:
    """Makes workers of a class that have no HTTP server.

    It is called where a nanny, or we, would call the class. What Dask's class does is
    replaced in each worker, so that it may be any class of the user's.
    """

    kind: Any

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Make one, which is not started yet."""
        worker = self.kind(*args, **options)
        worker.start_http_server = partial(_serve_nowhere, worker)
        return worker


def _serve_nowhere(node: Any, routes: list[Any], *_: Any) -> None:
    """Give it what Dask's other code expects to be there, and no socket."""
    node.http_application = RoutingApplication(routes)
    node.http_server = HTTPServer(node.http_application)
    node.http_server.port = None


class _Listener(ws.WSSListener):  # type: ignore[misc]  # as above
    """Dask's, which would listen on all addresses of the machine.

    It asks for the cluster's certificate, as ``tls`` does. A scheduler's is never on
    the port of the dashboard, which has another idea of who may come.
    """

    async def start(self) -> None:
        """Listen at the host that was named."""
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
