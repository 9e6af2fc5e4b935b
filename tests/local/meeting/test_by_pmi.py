"""PMI over TCP: who answers there, and who does not."""

from __future__ import annotations

import asyncio
import socket

import pytest

from dask_runner.meeting.base import UnusableError
from dask_runner.meeting.by_pmi import PmiExchange


def test_a_port_where_nobody_listens_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    environ = {"PMI_PORT": f"127.0.0.1:{port}", "PMI_ID": "0"}
    with pytest.raises(UnusableError, match="leads to nobody"):
        asyncio.run(PmiExchange(environ)("any text"))
