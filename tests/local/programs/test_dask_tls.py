"""What Dask makes of the TLS material: who can speak to whom."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from dask_runner.meeting import tls
from dask_runner.programs import dask_tls

CERTIFICATE, KEY = tls.material()


def contexts(certificate: str, key: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Return the contexts of a listener and a client, as Dask makes them."""
    found: Any = dask_tls.as_security(certificate, key)
    listener = found.get_listen_args("scheduler")["ssl_context"]
    return listener, found.get_connection_args("client")["ssl_context"]


def talk(listener: ssl.SSLContext, client: ssl.SSLContext | None) -> bytes:
    """Return what a client hears from a server, over a real connection."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    async def play() -> bytes:
        server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=listener)
        port = server.sockets[0].getsockname()[1]
        async with server, asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", port, ssl=client, server_hostname="x" if client else None
            )
            try:
                return await reader.read(5)
            finally:
                writer.close()

    return asyncio.run(play())


def test_who_has_the_material_speaks_to_who_has_it() -> None:
    assert talk(*contexts(CERTIFICATE, KEY)) == b"hello"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_who_has_other_material_is_refused() -> None:
    listener, _ = contexts(CERTIFICATE, KEY)
    _, client = contexts(*tls.material())
    with pytest.raises((ssl.SSLError, ConnectionError)):
        talk(listener, client)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_who_trusts_it_but_has_no_key_is_refused() -> None:
    listener, _ = contexts(CERTIFICATE, KEY)
    client = ssl.create_default_context(cadata=CERTIFICATE)
    client.check_hostname = False
    try:
        heard = talk(listener, client)
    except (ssl.SSLError, ConnectionError):
        return
    assert heard == b""


def test_the_key_is_loaded_without_a_file_that_has_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Dask would make one for the moment, in a directory that may be anybody's.
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    assert talk(*contexts(CERTIFICATE, KEY)) == b"hello"
    assert not list(tmp_path.iterdir())


def test_no_descriptor_stays_open_for_it() -> None:
    contexts(CERTIFICATE, KEY)
    before = len(list(Path("/proc/self/fd").iterdir()))
    contexts(CERTIFICATE, KEY)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
