"""The pages of a dashboard at a Unix socket, as a browser fetches them."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

#: The start line's: where the tunnel leads to.
SOCKET = re.compile(r"8787:(/[^ ']+)")

#: A page for which the dashboard is loaded, and how long that may take.
STATUS = "/status"
PATIENCE = 60.0

_SWITCHED = 101


def path_in(said: str) -> str:
    """Return the path of the socket that the start line names."""
    found = SOCKET.search(said)
    assert found, said
    return found[1]


class _AtSocket(http.client.HTTPConnection):
    """A connection to a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("127.0.0.1:8787", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self._path)


def get(path: str, page: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """Fetch a page at a socket; return the status and the text."""
    with contextlib.closing(_AtSocket(path)) as connection:
        connection.request("GET", page, headers=headers or {})
        response = connection.getresponse()
        text = "" if response.status == _SWITCHED else response.read().decode()
        return response.status, text


def listens(path: Path) -> bool:
    """Say whether there is a socket, which listens a moment after it has its name."""
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0


def until_served(path: str) -> str:
    """Return the page, which waits until the dashboard is loaded."""
    status, text = get(path, STATUS)
    assert status == 200, (status, text)
    return text


def websocket(path: str, page: str, origin: str) -> int:
    """Open the page's websocket, as a browser does that shows a page of *origin*."""
    token = re.search(r'"token":"([^"]+)"', page)
    assert token, page
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Sec-WebSocket-Protocol": f"bokeh, {token[1]}",
        "Origin": origin,
    }
    return get(path, f"{STATUS}/ws", headers)[0]
