"""What Dask takes for ``tls``: its own, and Unix sockets within a node.

``install`` puts it in the place of Dask's own. A side that has Dask's own connects to
one that has this, and the other way round.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from distributed.comm import CommClosedError, backends, tcp

from dask_runner.programs.comm import node_socket, tls_socket, trust

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tornado.iostream import IOStream

SCHEME = "tls"

logger = logging.getLogger(__name__)


def install() -> None:
    """Have Dask use it in this process."""
    backends[SCHEME] = Backend()


class NodeComm(tcp.TCP):  # type: ignore[misc]  # Dask has no types
    """A connection within a node, which no key has to protect."""


class Connector(tcp.TLSConnector):  # type: ignore[misc]  # as above
    """Connects within the node if the address is there, and else as Dask does."""

    def connect(
        self, address: str, deserialize: bool = True, **given: Any
    ) -> Awaitable[tcp.TCP]:
        """Connect; Dask calls this."""
        cluster = trust.digest(given.get("ssl_context"))
        stream = node_socket.connect(address, cluster)
        if stream is None:
            # Dask's own coroutine: its errors show no code of ours.
            return super().connect(address, deserialize, **given)  # type: ignore[no-any-return]
        return self._within_node(stream, address, deserialize, given)

    def _get_connect_args(self, **given: Any) -> dict[str, Any]:
        return _in_large_calls(super()._get_connect_args(**given))

    async def _within_node(
        self, stream: IOStream, address: str, deserialize: bool, given: dict[str, Any]
    ) -> tcp.TCP:
        if not await node_socket.welcomed(stream):
            return await super().connect(address, deserialize, **given)
        own = f"{SCHEME}://{node_socket.nameless(address)}"
        return NodeComm(stream, own, f"{SCHEME}://{address}", deserialize)


class Listener(tcp.TLSListener):  # type: ignore[misc]  # as above
    """Listens as Dask does, and for those of the node."""

    async def start(self) -> None:
        """Listen; Dask calls this."""
        await super().start()
        self._serving: set[asyncio.Task[None]] = set()
        self._address = self.contact_address
        address = self._address.removeprefix(self.prefix)
        self._other = f"{SCHEME}://{node_socket.nameless(address)}"
        cluster = trust.digest(self.server_args["ssl_options"])
        self._stop_node = node_socket.listen(address, cluster, self._accept)

    def stop(self) -> None:
        """Listen no more; Dask calls this, twice perhaps."""
        if self.tcp_server is not None:
            self._stop_node()
        super().stop()

    def _get_server_args(self, **given: Any) -> dict[str, Any]:
        return _in_large_calls(super()._get_server_args(**given))

    def _accept(self, stream: IOStream) -> None:
        serving = asyncio.ensure_future(self._serve(stream))
        self._serving.add(serving)
        serving.add_done_callback(self._serving.discard)

    async def _serve(self, stream: IOStream) -> None:
        comm = NodeComm(stream, self._address, self._other, self.deserialize)
        comm.allow_offload = self.allow_offload
        try:
            await self.on_connection(comm)
        except CommClosedError:
            logger.info("A connection within the node ended before its handshake")
            return
        await self.comm_handler(comm)


def _in_large_calls(args: dict[str, Any]) -> dict[str, Any]:
    """Have a context of Dask's make our sockets; return the arguments with it."""
    args["ssl_options"].sslsocket_class = tls_socket.Socket
    return args


class Backend(tcp.TLSBackend):  # type: ignore[misc]  # as above
    """Dask's table has one for each scheme."""

    _connector_class = Connector
    _listener_class = Listener
