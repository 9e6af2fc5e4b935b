"""Dask's processes talk over Unix sockets within a node, and else as before."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from distributed import Security
from distributed.comm import CommClosedError, backends, connect, listen, tcp
from distributed.protocol import to_serialize

from dask_runner.meeting import tls
from dask_runner.programs.comm import backend, node_socket, trust
from tests.local.programs.comm.talking import (
    CERTIFICATE,
    KEY,
    LOOPBACK,
    SECONDS,
    echoing,
    play,
    security,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

#: Listens, prints where, and sends without an end what nobody reads.
SENDER = """
import asyncio, sys
from distributed.comm import listen
from dask_runner.programs.dask_tls import as_security

async def main():
    security = as_security(*sys.argv[1:])
    async def send(comm):
        await comm.read()
        while True:
            await comm.write(b"x" * 50_000_000)
    keys = security.get_listen_args("worker")
    listener = await listen("tls://127.0.0.1", send, **keys)
    print(listener.contact_address, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def connected(address: str) -> Any:
    return await connect(address, **security().get_connection_args("client"))


async def spoken(address: str) -> type:
    """Return the class of a connection over which words come back."""
    comm = await connected(address)
    try:
        await comm.write({"a": 1})
        assert await comm.read() == {"a": 1}
        assert comm.peer_address == address
        assert comm.local_address.startswith(LOOPBACK)
        return type(comm)
    finally:
        await comm.close()


def name(address: str) -> str:
    cluster = trust.digest(security().get_listen_args("worker")["ssl_context"])
    return node_socket.name_of(address.removeprefix("tls://"), cluster)


def test_neighbours_use_a_unix_socket() -> None:
    async def talk() -> type:
        async with echoing() as address:
            return await spoken(address)

    assert play(talk()) is backend.NodeComm


def test_another_cluster_of_the_user_is_no_neighbour() -> None:
    # A port that was a lost scheduler's may be a worker's of another cluster by now.
    others = security(*tls.material())

    async def talk() -> None:
        async with echoing() as address:
            assert await spoken(address) is backend.NodeComm
            keys = others.get_connection_args("client")
            with pytest.raises(OSError, match=r"certificate|alert|timed out"):
                await connect(address, timeout=1, **keys)

    play(talk())


def test_keys_in_a_file_are_those_of_the_cluster(tmp_path: Path) -> None:
    file, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    file.write_text(CERTIFICATE)
    key.write_text(KEY)
    fields = {"tls_ca_file": str(file), "tls_client_cert": str(file)}
    of_files = Security(**fields, tls_client_key=str(key), require_encryption=True)

    async def talk() -> type:
        async with echoing() as address:
            comm = await connect(address, **of_files.get_connection_args("client"))
            comm.abort()
            return type(comm)

    assert play(talk()) is backend.NodeComm


def test_large_arrays_arrive_as_they_are() -> None:
    async def talk() -> bool:
        array = np.arange(10_000_000)
        async with echoing() as address:
            comm = await connected(address)
            await comm.write({"x": to_serialize(array)})
            back = await comm.read()
            await comm.close()
        return bool((back["x"] == array).all())

    assert play(talk())


@pytest.mark.parametrize("ours", ["listens", "connects"])
def test_a_side_that_has_dasks_own_is_understood(ours: str) -> None:
    async def talk() -> type:
        of_dask = tcp.TLSBackend()
        if ours == "connects":
            backends["tls"] = of_dask
            async with listening_as_dask() as address:
                return await spoken(address)
        async with echoing() as address:
            connector = of_dask.get_connector()
            arguments = security().get_connection_args("client")
            comm = await connector.connect(address.removeprefix("tls://"), **arguments)
            kind = type(comm)
            comm.abort()
            return kind

    @contextlib.asynccontextmanager
    async def listening_as_dask() -> AsyncIterator[str]:
        async def echo(comm: Any) -> None:
            await comm.write(await comm.read())

        keys = security().get_listen_args("worker")  # which installs ours
        backends["tls"] = tcp.TLSBackend()
        listener = await listen(LOOPBACK, echo, **keys)
        try:
            yield listener.contact_address
        finally:
            listener.stop()

    assert play(talk()) is tcp.TLS


def test_a_socket_whose_queue_is_full_is_not_waited_for() -> None:
    async def talk() -> type:
        async with echoing() as address:
            # The name is taken by one that never accepts.
            return await spoken(address)

    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        full = stack.enter_context(socket.socket(socket.AF_UNIX))
        full.bind("\0dask-runner-test-full")
        full.listen(0)
        for _ in range(2):
            guest = stack.enter_context(socket.socket(socket.AF_UNIX))
            guest.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                guest.connect("\0dask-runner-test-full")
        patch.setattr(node_socket, "name_of", lambda *_: "\0dask-runner-test-full")
        assert play(talk()) is tcp.TLS


def test_nothing_listens_after_the_end() -> None:
    async def talk() -> str:
        async with echoing() as address:
            await spoken(address)
        return address

    address = play(talk())
    with socket.socket(socket.AF_UNIX) as again:
        again.bind(name(address))


def test_a_neighbour_that_is_killed_in_the_middle_of_a_frame_is_a_lost_connection() -> (
    None
):
    line = [sys.executable, "-c", SENDER, CERTIFICATE, KEY]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as sender:
        assert sender.stdout is not None
        address = sender.stdout.readline().strip()

        async def lose() -> None:
            security()
            comm = await connected(address)
            assert type(comm) is backend.NodeComm
            await comm.write("begin")
            reading = asyncio.ensure_future(comm.read())
            await asyncio.sleep(0)
            os.kill(sender.pid, signal.SIGSTOP)
            await asyncio.wait({reading}, timeout=0.2)
            os.kill(sender.pid, signal.SIGKILL)
            while True:  # what was whole arrives
                await reading
                reading = asyncio.ensure_future(comm.read())

        with pytest.raises(CommClosedError):
            play(lose())


def test_a_listener_that_closes_at_once_is_no_neighbour() -> None:
    # As one that does not know this user, in another user namespace.
    async def talk() -> type:
        async with echoing() as address:
            return await spoken(address)

    with pytest.MonkeyPatch.context() as patch:
        known = node_socket.trusted
        seen: list[socket.socket] = []

        def only_first(sock: socket.socket) -> bool:
            seen.append(sock)
            return known(sock) and len(seen) == 1

        patch.setattr(node_socket, "trusted", only_first)
        assert play(talk()) is tcp.TLS
    assert len(seen) == 2


def test_half_a_frame_holds_up_nobody_else() -> None:
    async def talk() -> type:
        async with echoing() as address:
            with contextlib.ExitStack() as stack:
                for ends in (True, False):
                    guest = stack.enter_context(socket.socket(socket.AF_UNIX))
                    guest.connect(name(address))
                    # Of eight bytes with the frame's length, four.
                    guest.sendall(bytes(4))
                    if ends:
                        guest.close()
                return await spoken(address)

    assert play(talk()) is backend.NodeComm


def test_a_neighbour_that_reads_nothing_holds_up_nobody_else() -> None:
    async def talk() -> None:
        async with echoing() as address:
            comm, guest = await connected(address), await connected(address)
            # The echo's socket to the one is full from now on.
            await comm.write({"x": to_serialize(bytes(1 << 26))})
            begun = [comm.stream.socket], [], [], SECONDS
            assert (await asyncio.to_thread(select.select, *begun))[0]
            await guest.write("meanwhile")
            assert await guest.read() == "meanwhile"
            comm.abort()
            assert await spoken(address) is backend.NodeComm
            await guest.close()

    play(talk())
