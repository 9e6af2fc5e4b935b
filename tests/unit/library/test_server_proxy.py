"""What jupyter-server-proxy is told."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

from dask_runner.library.server_proxy import server
from dask_runner.proxy.access import Passed, judge


def test_it_finds_the_server_by_its_entry_point() -> None:
    kind, name = "jupyter_serverproxy_servers", "proxy/dask-runner"
    (point,) = entry_points(group=kind, name=name)

    assert point.load() is server


def test_the_command_serves_at_the_socket_that_it_names() -> None:
    filled = [word.format(unix_socket="/x/socket") for word in server()["command"]]

    assert filled == [
        *(sys.executable, "-P", "-m", "dask_runner", "dashboard"),
        *("--socket", "/x/socket", "--with-parent"),
    ]


def test_requests_that_it_passes_on_may_pass() -> None:
    headers = {"Host": "hub.example.org", "Origin": "https://hub.example.org"}
    headers |= {"Sec-Fetch-Site": "same-site"} | server()["request_headers_override"]

    assert judge(None, "GET", "/status/ws", headers) == Passed()
