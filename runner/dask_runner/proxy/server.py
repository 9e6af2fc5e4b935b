"""The proxy's server: its connections, and who waits at it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from tornado.http1connection import (
    HTTP1ConnectionParameters,
    HTTP1ServerConnection,
)
from tornado.httputil import HTTPServerConnectionDelegate
from tornado.tcpserver import TCPServer

from dask_runner.proxy import peers
from dask_runner.proxy.access import Entered, Secrets, judge
from dask_runner.proxy.exchange import Exchange
from dask_runner.proxy.html import REFUSED, Answer, moved
from dask_runner.proxy.stream import Streams
from dask_runner.resources.open_files import allow_many_files

if TYPE_CHECKING:
    import socket
    from collections.abc import Coroutine

    from tornado.http1connection import HTTP1Connection
    from tornado.httputil import HTTPConnection, HTTPHeaders, RequestStartLine
    from tornado.iostream import IOStream

    from dask_runner.proxy.clusters import Clusters, Goal

#: Seconds in which a request has to come on an open connection.
IDLE_SECONDS = 60.0
#: Connections that have shown no right to pass, and are held at a time. Browsers open
#: a dozen.
STRANGERS = 512


class Server(TCPServer, HTTPServerConnectionDelegate):
    """Answers requests to the dashboards of clusters.

    Parameters
    ----------
    clusters : Clusters
    own : Secrets or None
        None where only the owner can connect.
    """

    def __init__(self, clusters: Clusters, own: Secrets | None) -> None:
        super().__init__()
        self._clusters = clusters
        self._own = own
        self._parameters = HTTP1ConnectionParameters(header_timeout=IDLE_SECONDS)
        self._streams = Streams()
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: set[HTTP1ServerConnection] = set()
        self._waiting: dict[object, IOStream] = {}
        self._passed: set[object] = set()

    def open(self, sock: socket.socket) -> None:
        """Serve at a listening socket."""
        allow_many_files()
        sock.setblocking(False)
        self.add_socket(sock)

    async def shut(self) -> None:
        """Serve no more, and end what is going on."""
        self.stop()
        for task in self._tasks:
            task.cancel()
        await self._streams.close()
        closed = [connection.close() for connection in self._connections]
        await asyncio.gather(*closed, *self._tasks, return_exceptions=True)

    # --- connections, as tornado tells of them ------------------------------------

    def handle_stream(self, stream: IOStream, address: object) -> None:
        """Serve a connection that has come."""
        del address
        connection = HTTP1ServerConnection(stream, self._parameters)
        self._connections.add(connection)
        connection.start_serving(self)

    def start_request(
        self, server_conn: object, request_conn: HTTPConnection
    ) -> Exchange:
        """Return what answers the next request of a connection."""
        browser = cast("HTTP1Connection", request_conn)
        stream = browser.stream
        if self._own is not None and server_conn not in self._passed:
            self._waiting[server_conn] = stream
            if len(self._waiting) > STRANGERS:
                # The one that has waited longest.
                self._waiting.pop(next(iter(self._waiting))).close()

        async def find(
            request: RequestStartLine, headers: HTTPHeaders
        ) -> Goal | Answer:
            answer = self._judge(server_conn, stream, request, headers)
            return answer or await self._clusters.find(request.path)

        return Exchange(browser, find, self._streams, self._spawn)

    def on_close(self, server_conn: object) -> None:
        """Forget a connection."""
        self._connections.discard(cast("HTTP1ServerConnection", server_conn))
        self._waiting.pop(server_conn, None)
        self._passed.discard(server_conn)

    def _judge(
        self,
        server_conn: object,
        stream: IOStream,
        request: RequestStartLine,
        headers: HTTPHeaders,
    ) -> Answer | None:
        """Return the answer to a request that goes no further."""
        judged = judge(self._own, request.method, request.path, headers)
        if judged is None:
            return REFUSED
        if self._own is not None and server_conn not in self._passed:
            if not peers.is_ours(stream.socket):
                return REFUSED
            self._waiting.pop(server_conn, None)
            self._passed.add(server_conn)
        if isinstance(judged, Entered):
            return moved(judged.location, **{"Set-Cookie": judged.cookie})
        return None

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
