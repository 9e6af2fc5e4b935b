"""The TLS material: what Dask makes of it, and who can read it."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from dask_runner.meeting import tls
from dask_runner.programs import dask_tls
from tests.programs import printed

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


def test_it_is_valid_whatever_the_clocks_of_the_nodes_say() -> None:
    made = x509.load_pem_x509_certificate(CERTIFICATE.encode())
    now = dt.datetime.now(dt.UTC)
    assert made.not_valid_before_utc < now - dt.timedelta(days=3650)
    assert made.not_valid_after_utc > now + dt.timedelta(days=3650)


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


def test_each_cluster_has_its_own() -> None:
    assert tls.material()[1] != KEY


def write(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        tls.write(descriptor, CERTIFICATE, KEY)
    finally:
        os.close(descriptor)


def test_files_and_directory_are_ours_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write(tmp_path)
    finally:
        os.umask(before)
    assert (tmp_path / "tls").stat().st_mode & 0o777 == 0o700
    files = list((tmp_path / "tls").iterdir())
    assert len(files) == 2
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)


def test_what_lies_there_already_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "tls").symlink_to(tmp_path)
    with pytest.raises(FileExistsError):
        write(tmp_path)


def test_the_variables_give_the_material_to_any_dask_process(tmp_path: Path) -> None:
    write(tmp_path)
    code = (
        "from distributed import Security\n"
        "security = Security()\n"
        "assert security.require_encryption\n"
        "for role in ('scheduler', 'worker', 'client'):\n"
        "    assert security.get_connection_args(role)['ssl_context']\n"
        "print(security.tls_ca_file)\n"
    )
    variables = tls.variables(tmp_path / "tls")
    told = printed(code, {"HOME": str(tmp_path), **variables})
    assert told == str(tmp_path / "tls" / "certificate.pem")


def test_without_material_there_is_no_security() -> None:
    assert dask_tls.as_security("", "") is None
