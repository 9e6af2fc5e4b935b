"""One request of a browser, and its answer by a cluster's dashboard or by us.

Tornado reads and writes HTTP on both sides. What arrives is passed on piece by piece,
and no faster than the other side takes it.
"""

from __future__ import annotations

import asyncio
import contextlib
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

from tornado.http1connection import HTTP1Connection, HTTP1ConnectionParameters
from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import StreamClosedError

from dask_runner.errors import RunnerError, UnavailableError
from dask_runner.hub.ask import SilentError
from dask_runner.proxy.access import FIRST_PAGE
from dask_runner.proxy.html import Answer, failed, not_yet
from dask_runner.proxy.stream import carry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from tornado.iostream import IOStream

    from dask_runner.proxy.clusters import Goal
    from dask_runner.proxy.stream import Streams

#: Seconds for the first line of a dashboard's answer: the scheduler may be at work.
PATIENCE_SECONDS = 60.0
#: Bytes of a body, which is passed on and never held.
MOST = 1 << 40

_SWITCHED = 101
_NOT_FOUND = 404
#: They concern one connection alone (RFC 9110, 7.6.1), or are for this proxy and the
#: servers before it: neither cookies nor passwords of others go to a cluster.
_OF_ONE_CONNECTION = (
    *("Connection", "Keep-Alive", "Proxy-Connection", "TE", "Trailer"),
    *("Transfer-Encoding", "Upgrade"),
)
_FOR_US = ("Authorization", "Cookie", "Host", "Origin", "Proxy-Authorization")
#: Methods whose requests have a body, also where its length is not known before.
_WITH_BODY = ("POST", "PUT", "PATCH")

_PARAMETERS = HTTP1ConnectionParameters(
    no_keep_alive=True, header_timeout=PATIENCE_SECONDS, max_body_size=MOST
)


class Exchange(HTTPMessageDelegate):
    """Answers one request.

    Parameters
    ----------
    browser : HTTP1Connection
        The connection on which the request comes.
    find : coroutine function
        Says where a request goes, or answers it.
    streams : Streams
    spawn : callable
        Runs a coroutine beside.
    """

    def __init__(
        self,
        browser: HTTP1Connection,
        find: Callable[[RequestStartLine, HTTPHeaders], Awaitable[Goal | Answer]],
        streams: Streams,
        spawn: Callable[[Coroutine[None, None, None]], None],
    ) -> None:
        self._browser = browser
        self._find = find
        self._streams = streams
        self._spawn = spawn
        self._dashboard: HTTP1Connection | None = None

    # --- what the browser sends, as tornado tells it ---------------------------

    async def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> None:
        """Answer the request, or pass it on."""
        request = cast("RequestStartLine", start_line)
        self._method = request.method
        found = await self._find(request, headers)
        if isinstance(found, Answer):
            self._say(found)
            return
        try:
            stream = await self._streams.open(found.named.record)
        except SilentError as why:
            self._say(failed(504, await asyncio.to_thread(found.silent, why)))
            return
        except RunnerError as error:
            later = error.status == UnavailableError.status
            self._say(not_yet(error.saw) if later else failed(404, error))
            return
        await self._pass_on(request, headers, found, stream)

    async def data_received(self, chunk: bytes) -> None:
        """Pass on a piece of the request's body."""
        if self._dashboard is not None:
            with contextlib.suppress(StreamClosedError):  # its answer says more
                await self._dashboard.write(chunk)

    def finish(self) -> None:
        """Note the end of the request."""
        if self._dashboard is not None and not self._dashboard.stream.closed():
            self._dashboard.finish()

    def on_connection_close(self) -> None:
        """Leave the dashboard: the browser is gone."""
        if self._dashboard is not None:
            self._dashboard.close()

    # --- what the dashboard answers ---------------------------------------------

    async def _pass_on(
        self,
        request: RequestStartLine,
        headers: HTTPHeaders,
        goal: Goal,
        stream: IOStream,
    ) -> None:
        dashboard = HTTP1Connection(stream, True, _PARAMETERS)
        upgrade = headers.get("Upgrade", "").lower() == "websocket"
        passed = without(headers, _FOR_US)
        passed["Host"] = "localhost"
        passed["Connection"] = "close"
        if upgrade:
            passed["Connection"], passed["Upgrade"] = "Upgrade", "websocket"
        elif request.method not in _WITH_BODY and "Transfer-Encoding" in headers:
            stream.close()
            self._say(Answer(411))
            return
        line = RequestStartLine(request.method, goal.page.target, "HTTP/1.1")
        with contextlib.suppress(StreamClosedError):  # told where the answer is read
            await dashboard.write_headers(line, passed)
        reading = self._read(dashboard, goal)
        if upgrade:
            # The browser's stream can be taken over in this call alone.
            dashboard.finish()
            await reading
        else:
            self._dashboard = dashboard
            self._browser.set_close_callback(self.on_connection_close)
            self._spawn(reading)

    async def _read(self, dashboard: HTTP1Connection, goal: Goal) -> None:
        relayed = Relayed(self._browser, dashboard, goal)
        try:
            await dashboard.read_response(relayed)
        except StreamClosedError:
            """The dashboard has gone before it answered: below."""
        if relayed.taken_over is not None:
            self._spawn(carry(self._browser.detach(), relayed.taken_over))
            return
        dashboard.close()
        if relayed.instead is not None:
            self._say(relayed.instead)
        elif not relayed.begun:
            self._say(not_yet(f"The dashboard of {goal.entry.name} does not answer."))
        elif not relayed.ended:
            self._browser.close()

    def _say(self, answer: Answer) -> None:
        body = answer.body.encode()
        headers = HTTPHeaders(
            {
                "Content-Type": "text/html; charset=utf-8",
                "Cache-Control": "no-store",
                # It may come before the end of the request, which is not read then.
                "Connection": "close",
                "Referrer-Policy": "no-referrer",
                "X-Content-Type-Options": "nosniff",
                "X-Frame-Options": "SAMEORIGIN",
                **answer.headers,
                "Content-Length": str(len(body)),
            }
        )
        line = ResponseStartLine(
            "HTTP/1.1", answer.code, HTTPStatus(answer.code).phrase
        )
        try:
            self._browser.write_headers(line, headers)
            if self._method != "HEAD":
                self._browser.write(body)
            self._browser.finish()
        except StreamClosedError:
            return


class Relayed(HTTPMessageDelegate):
    """Passes the dashboard's answer on, as tornado reads it.

    Parameters
    ----------
    browser, dashboard : HTTP1Connection
    goal : Goal

    Attributes
    ----------
    begun, ended : bool
        Whether the browser has got the head, and all of it.
    instead : Answer or None
        What the browser is to get in its place.
    taken_over : IOStream or None
        The dashboard's stream, if it is a websocket from now on.
    """

    def __init__(
        self, browser: HTTP1Connection, dashboard: HTTP1Connection, goal: Goal
    ) -> None:
        self._browser = browser
        self._dashboard = dashboard
        self._goal = goal
        self.begun = False
        self.ended = False
        self.instead: Answer | None = None
        self.taken_over: IOStream | None = None

    async def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> None:
        """Pass the head on."""
        line = cast("ResponseStartLine", start_line)
        path = self._goal.page.target.partition("?")[0]
        if line.code == _NOT_FOUND and path == FIRST_PAGE:
            self.instead = not_yet("The dashboard is being loaded.")
            return
        if line.code < 200 and line.code != _SWITCHED:  # noqa: PLR2004  an interim one
            return
        passed = without(headers)
        if line.code == _SWITCHED:
            passed["Connection"], passed["Upgrade"] = "Upgrade", "websocket"
            self.taken_over = self._dashboard.detach()
        location = passed.get("Location", "")
        if location.startswith("/") and not location.startswith("//"):
            passed["Location"] = self._goal.page.prefix + location
        self.begun = True
        await self._to_browser(self._browser.write_headers(line, passed))

    async def data_received(self, chunk: bytes) -> None:
        """Pass a piece of the body on."""
        if self.begun:
            await self._to_browser(self._browser.write(chunk))

    def finish(self) -> None:
        """Pass the end on."""
        if self.begun:
            self.ended = True
            self._browser.finish()

    def on_connection_close(self) -> None:
        """Do nothing: that the answer has no end is seen where it is read."""

    async def _to_browser(self, written: Awaitable[None]) -> None:
        try:
            await written
        except StreamClosedError:  # nobody reads it any more
            self._dashboard.close()


def without(headers: HTTPHeaders, more: tuple[str, ...] = ()) -> HTTPHeaders:
    """Return headers without those of one connection, and without some more."""
    named = (one.strip() for one in headers.get("Connection", "").split(","))
    left_out = {one.lower() for one in (*_OF_ONE_CONNECTION, *more, *named)}
    passed = HTTPHeaders()
    for name, value in headers.get_all():
        if name.lower() not in left_out:
            passed.add(name, value)
    return passed
