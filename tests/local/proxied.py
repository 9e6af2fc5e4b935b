"""A proxy in front of a hub whose scheduler's HTTP server is ours."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_unix_socket
from tornado.simple_httpclient import SimpleAsyncHTTPClient
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketClientConnection, WebSocketHandler

from dask_runner.hub import messages as m
from dask_runner.meeting.cluster_directory import Entry
from dask_runner.meeting.named_record import NamedRecord
from dask_runner.proxy import places
from dask_runner.proxy.access import Secrets
from dask_runner.proxy.clusters import One
from dask_runner.proxy.server import Server
from tests.local.served import Served
from tests.unit.stage import PATIENCE, FakeRank, workers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

#: Bytes of an answer that no buffer on the way holds.
LARGE = 1 << 26
PIECE = bytes(1 << 16)


class Echo(RequestHandler):
    """Says what has arrived."""

    def initialize(self, seen: Seen) -> None:
        self.seen = seen

    def get(self) -> None:
        self.seen.headers = dict(self.request.headers)
        self.write({"path": self.request.uri})

    def head(self) -> None:
        self.set_header("Content-Length", "12")

    def post(self) -> None:
        self.write(self.request.body)


class Large(Echo):
    """Sends much, and notes how much has left."""

    async def get(self) -> None:
        for _ in range(LARGE // len(PIECE)):
            self.write(PIECE)
            await self.flush()
            self.seen.sent += len(PIECE)


class Forever(Echo):
    """Sends a line, and no end until the browser is gone."""

    async def get(self) -> None:
        self.write("begun\n")
        await self.flush()
        await self.seen.left.wait()

    def on_connection_close(self) -> None:
        self.seen.left.set()


class Broken(Echo):
    """Breaks off in the middle."""

    async def get(self) -> None:
        self.set_header("Content-Length", "100")
        self.write("begun\n")
        await self.flush()
        self.detach().close()


class Silent(Echo):
    """Goes before it has said anything."""

    async def get(self) -> None:
        self.detach().close()


class Elsewhere(Echo):
    """Sends the browser to another page."""

    def get(self) -> None:
        self.redirect("/other")


class Words(WebSocketHandler):
    """Says each word twice."""

    def initialize(self, seen: Seen) -> None:
        self.seen = seen

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        return subprotocols[0] if subprotocols else None

    async def on_message(self, message: str | bytes) -> None:
        await self.write_message(message * 2, binary=isinstance(message, bytes))

    def on_close(self) -> None:
        self.seen.left.set()


class Seen:
    """What the HTTP server behind it all has seen."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.sent = 0
        self.left = asyncio.Event()


def pages(seen: Seen) -> Application:
    """Return an HTTP server's pages."""
    own = {"seen": seen}
    each = {
        "echo": Echo,
        "large": Large,
        "forever": Forever,
        "broken": Broken,
        "silent": Silent,
        "elsewhere": Elsewhere,
        "ws": Words,
    }
    return Application([(f"/{path}", kind, own) for path, kind in each.items()])


@dataclass
class Proxied:
    """A proxy at a port, its cluster, and the server behind it."""

    stage: Served
    cluster: One
    server: Server
    own: Secrets
    seen: Seen
    http: HTTPServer
    rank: FakeRank

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.own.port}"

    @property
    def cookie(self) -> dict[str, str]:
        return {"Cookie": f"{self.own.cookie_name}={self.own.cookie}"}

    async def fetch(self, path: str, **how: Any) -> HTTPResponse:
        """Fetch a page as its owner's browser does."""
        how["headers"] = {**self.cookie, **how.get("headers", {})}
        client: AsyncHTTPClient = SimpleAsyncHTTPClient(
            force_instance=True, max_body_size=2 * LARGE
        )
        try:
            async with asyncio.timeout(PATIENCE * 4):
                return await client.fetch(
                    self.base + path, raise_error=False, follow_redirects=False, **how
                )
        finally:
            client.close()

    def websocket(self, **headers: str) -> HTTPRequest:
        """Return the request for the websocket of a page of this proxy."""
        own = {"Origin": self.base} | self.cookie | headers
        return HTTPRequest(self.base.replace("http", "ws") + "/ws", headers=own)


@asynccontextmanager
async def proxied(
    *, complete: bool = True, dashboard: bool = True
) -> AsyncIterator[Proxied]:
    """Open a hub, with one rank, and a proxy to it."""
    with ExitStack() as files:
        directory = Path(files.enter_context(tempfile.TemporaryDirectory()))
        async with AsyncExitStack() as stack:
            seen = Seen()
            http = HTTPServer(pages(seen))
            path = str(directory / "dashboard")
            http.add_socket(bind_unix_socket(path))
            stack.callback(http.stop)
            stage = Served(1)
            await stage.open()
            stack.push_async_callback(stage.shut)
            (rank,) = await stage.ranks(0)
            if complete:
                rank.say(m.SchedulerUp("tcp://127.0.0.1:1", path if dashboard else ""))
                await rank.hears(m.Start)
                rank.say(workers(0))
                await rank.hears(m.Ready)
            record = stage.record()
            named = NamedRecord("lab", "1", "slurm", 0.0, "3.13", "2026.8.0", record)
            cluster = One(Entry("lab", directory / "cluster-lab.json", named), named)
            sock = stack.enter_context(places.port(0))
            own = Secrets.new(sock.getsockname()[1])
            server = Server(cluster, own)
            server.open(sock)
            stack.push_async_callback(server.shut)
            yield Proxied(stage, cluster, server, own, seen, http, rank)


async def hang_up(socket: WebSocketClientConnection) -> None:
    """Close a websocket, and wait until the other side has."""
    socket.close()
    async with asyncio.timeout(PATIENCE):
        while await socket.read_message() is not None:
            """What was under way."""


def playing(play: Callable[[Proxied], Coroutine[Any, Any, None]], **how: Any) -> None:
    """Run a play with a proxy."""

    async def main() -> None:
        async with proxied(**how) as there:
            await play(there)

    asyncio.run(main())
