"""A browser's part at ``dask-runner dashboard``, and the runs of its user."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import re
from typing import TYPE_CHECKING

from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from tests.running import DASK_RUNNER, Run
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

LINK = re.compile(r"http://127\.0\.0\.1:(\d+)/status\?token=([\w-]+)\n")


class Browser:
    """What a browser keeps: where it was sent, and a cookie."""

    def __init__(self, printed: str) -> None:
        found = LINK.fullmatch(printed)
        assert found, printed
        self.port, self.token = int(found[1]), found[2]
        self.headers: dict[str, str] = {}

    def get(self, page: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Fetch a page; return status, headers and body."""
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        ) as connection:
            connection.request("GET", page, headers=self.headers | headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()

    def enters(self) -> None:
        """Open the link."""
        status, headers, _ = self.get(f"/status?token={self.token}")
        assert (status, headers["Location"]) == (302, "/status")
        self.headers = {"Cookie": headers["Set-Cookie"].partition(";")[0]}

    def status(self) -> str:
        """Return the status page, when the dashboard is loaded."""
        until(lambda: self.get("/status")[0] == 200)
        return self.get("/status")[2].decode()

    def session(self, page: str, **headers: str) -> str:
        """Open the page's session, as its bokeh does; return the first word."""
        (token,) = set(re.findall(r'"token":"([^"]+)"', page))
        base = f"127.0.0.1:{self.port}"
        request = HTTPRequest(
            f"ws://{base}/status/ws",
            headers={**self.headers, "Origin": f"http://{base}", **headers},
        )

        async def first_word() -> str:
            words = await websocket_connect(request, subprotocols=["bokeh", token])
            said = json.loads(await words.read_message())["msgtype"]
            words.close()
            while await words.read_message() is not None:
                """What was under way."""
            return str(said)

        return asyncio.run(asyncio.wait_for(first_word(), 60))


class Home:
    """The runs of one user."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._stack = contextlib.ExitStack()

    def run(self, *args: str) -> Run:
        """Start ``dask-runner ARGS``."""
        env = {"HOME": str(self.directory)}
        return self._stack.enter_context(Run((str(DASK_RUNNER), *args), env=env))

    def serve(self, name: str, *args: str) -> Run:
        """Start a cluster, and wait until it is ready."""
        run = self.run("serve", "-n", "1", "--name", name, *args)
        run.wait_for("ready after")
        return run

    def show(self, *args: str) -> tuple[Run, Browser]:
        """Start ``dask-runner dashboard ARGS``; return a browser with its link."""
        run = self.run("dashboard", *args)
        run.wait_for("\n")
        until(lambda: run.stdout.endswith("\n"))
        return run, Browser(run.stdout)

    def close(self) -> None:
        """End all."""
        self._stack.close()
