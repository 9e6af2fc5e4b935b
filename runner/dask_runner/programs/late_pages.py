"""The dashboard's pages, which are loaded when somebody asks for one.

Importing bokeh takes half a second of CPU time. It is done in a thread, because the
scheduler is at work, and would still take that from the start of a job, from the end of
a short one, and from one that nobody looks at. The first reader waits for it.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from typing import TYPE_CHECKING, Any

import dask.config
from tornado import web
from tornado.httputil import HTTPMessageDelegate
from tornado.routing import PathMatches, Rule

if TYPE_CHECKING:
    from tornado.httputil import HTTPServerRequest

    from dask_runner.programs.listening import Scheduler

logger = logging.getLogger("distributed.scheduler")

#: Seconds that a reader waits at most.
PATIENCE_SECONDS = 60.0

#: The pages that may open websockets to a dashboard on a Unix socket: those that come
#: through a tunnel. Otherwise any page in the same browser could read it.
ORIGINS = ["127.0.0.1:*", "localhost:*", "[::1]:*"]


#: What Dask answers without the pages too, with an empty list: the pages for which
#: JupyterLab's side bar has buttons.
LIST = r".*/individual-plots\.json"


class LatePages(web.Application):
    """Answers for all pages that Dask's application does not have yet.

    Parameters
    ----------
    scheduler : Scheduler
        Its application has no dashboard.
    prefix : str
        What the paths of the pages begin with.
    """

    def __init__(self, scheduler: Scheduler, prefix: str) -> None:
        super().__init__()
        self._scheduler = scheduler
        self._prefix = prefix
        self._asked = asyncio.Event()
        self._loaded = asyncio.Event()
        self._trouble = ""
        scheduler.http_application.add_application(self)
        self._list = Rule(PathMatches(LIST), self)
        self._rules.insert(0, self._list)

    @property
    def _rules(self) -> list[Rule]:
        rules: list[Rule] = self._scheduler.http_application.default_router.rules
        return rules

    async def load(self) -> None:
        """Add the dashboard to the scheduler's server, as ``dashboard=True`` would.

        This waits for a reader first.
        """
        await self._asked.wait()
        try:
            await self._connect()
        except Exception as error:
            # bokeh may not fit the user's packages; the cluster works without it.
            logger.exception("There is no dashboard")
            self._trouble = f"{type(error).__name__}: {error}"
        else:
            self._scheduler.http_application.applications.remove(self)
        self._rules.remove(self._list)
        self._loaded.set()

    async def _connect(self) -> None:
        pages = await asyncio.to_thread(
            importlib.import_module, "distributed.dashboard.scheduler"
        )
        if self._scheduler.pages.startswith("/"):
            _open_to_tunnels()
        server = self._scheduler
        pages.connect(
            server.http_application, server.http_server, server, prefix=self._prefix
        )

    def find_handler(self, request: HTTPServerRequest, **_: Any) -> Any:
        """Return what answers a request: a handler that waits, or one that says why."""
        self._asked.set()
        if self._trouble:
            return self.get_handler_delegate(request, _None, {"why": self._trouble})
        return _Waiting(self, request)

    async def found(self, request: HTTPServerRequest) -> Any:
        """Return what answers a request once the dashboard is loaded."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._loaded.wait()
        except TimeoutError:
            why = f"it has not been loaded within {PATIENCE_SECONDS:g} s"
            return self.get_handler_delegate(request, _None, {"why": why})
        return self._scheduler.http_application.find_handler(request)


class _Waiting(HTTPMessageDelegate):
    """Has a request answered by the handler that is there when the pages are."""

    #: What Dask's application looks at, to see that this is not its page for errors.
    handler_class = web.RequestHandler

    def __init__(self, pages: LatePages, request: HTTPServerRequest) -> None:
        self._pages = pages
        self._request = request
        self._handler: HTTPMessageDelegate | None = None

    async def headers_received(self, start_line: Any, headers: Any) -> None:
        # tornado reads no further before this returns.
        self._handler = handler = await self._pages.found(self._request)
        received = handler.headers_received(start_line, headers)
        if received is not None:
            await received

    def data_received(self, chunk: bytes) -> Any:
        return self._handler.data_received(chunk) if self._handler else None

    def finish(self) -> None:
        if self._handler:
            self._handler.finish()

    def on_connection_close(self) -> None:
        if self._handler:
            self._handler.on_connection_close()


class _None(web.RequestHandler):
    """Says why there is no dashboard."""

    def initialize(self, why: str) -> None:
        self._why = why

    def prepare(self) -> None:
        self.set_status(503)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(
            f"dask-runner: there is no dashboard: {self._why}\n"
            "  needed: a bokeh that fits this Dask\n"
            "  you can: pip install 'distributed[diagnostics]', or go on without it\n"
        )


def _open_to_tunnels() -> None:
    """Make bokeh refuse other pages, unless the user has configured which may come."""
    from bokeh.settings import settings  # noqa: PLC0415  half a second

    chosen = "distributed.scheduler.dashboard.bokeh-application.allow_websocket_origin"
    if dask.config.get(chosen) == ["*"] and not settings.allowed_ws_origin():
        settings.allowed_ws_origin = ORIGINS
