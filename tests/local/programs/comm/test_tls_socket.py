"""Our sockets for TLS and Python's own understand each other, whatever goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import struct
from typing import TYPE_CHECKING

import pytest
from distributed.comm import connect, tcp
from tornado.iostream import SSLIOStream, StreamClosedError

from dask_runner.meeting import tls
from dask_runner.programs.comm import node_socket, tls_socket
from tests.local.programs.comm.talking import (
    CERTIFICATE,
    KEY,
    echoing,
    play,
    security,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

ANOTHER_CERTIFICATE, ANOTHER_KEY = tls.material()
CLASSES = {"ours": tls_socket.Socket, "Python's": ssl.SSLSocket}
#: Below, at and above what is sent, received and encrypted at once.
SIZES = (
    *(1, 16_383, 16_384, 16_385),
    *(tls_socket.SENT - 1, tls_socket.SENT, tls_socket.SENT + 1),
    *(tls_socket.RECEIVED - 1, tls_socket.RECEIVED, tls_socket.RECEIVED + 1),
    5_000_003,
)


def context(
    serves: bool, sockets: type[ssl.SSLSocket], certificate: str, key: str
) -> ssl.SSLContext:
    keys = security(certificate, key)
    role = keys.get_listen_args if serves else keys.get_connection_args
    made: ssl.SSLContext = role("worker")["ssl_context"]
    made.sslsocket_class = sockets
    return made


class Side:
    """One side of a connection: a stream, and the raw socket below it."""

    def __init__(
        self,
        raw: socket.socket,
        serves: bool,
        sockets: type[ssl.SSLSocket] = tls_socket.Socket,
        certificate: str = CERTIFICATE,
        key: str = KEY,
    ) -> None:
        raw.setblocking(False)
        made = context(serves, sockets, certificate, key).wrap_socket(
            raw, server_side=serves, do_handshake_on_connect=False
        )
        self.stream = SSLIOStream(made, max_buffer_size=1 << 30)

    async def shaken(self) -> None:
        await self.stream.wait_for_handshake()

    async def read(self, size: int) -> bytes:
        buffer = bytearray(size)
        await self.stream.read_into(buffer)
        return bytes(buffer)


@contextlib.contextmanager
def sides(
    client: type[ssl.SSLSocket] = tls_socket.Socket,
    server: type[ssl.SSLSocket] = tls_socket.Socket,
    **server_keys: str,
) -> Iterator[tuple[Side, Side]]:
    """Yield a client and a server, which have not shaken hands."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        here = socket.create_connection(door.getsockname())
        there, _ = door.accept()
    made = Side(here, False, client), Side(there, True, server, **server_keys)
    try:
        yield made
    finally:
        for side in made:
            side.stream.close()


async def both_shaken(one: Side, other: Side) -> None:
    await asyncio.gather(one.shaken(), other.shaken())


@pytest.mark.parametrize("server", CLASSES)
@pytest.mark.parametrize("client", CLASSES)
def test_what_is_sent_arrives_in_both_directions_at_once(
    client: str, server: str
) -> None:
    async def talk() -> None:
        with sides(CLASSES[client], CLASSES[server]) as (one, other):
            await both_shaken(one, other)
            for size in SIZES:
                there, back = os.urandom(size), os.urandom(size)
                one.stream.write(there)
                other.stream.write(back)
                found = await asyncio.gather(other.read(size), one.read(size))
                assert found == [there, back]

    play(talk())


def test_words_that_come_with_the_last_of_the_handshake_are_heard() -> None:
    async def talk() -> bytes:
        with socket.create_server(("127.0.0.1", 0)) as door:
            raw = socket.create_connection(door.getsockname())
            side = Side(door.accept()[0], True)
        reading = asyncio.ensure_future(side.read(5))
        with raw:
            await asyncio.to_thread(say_with_the_handshake, raw, b"hello")
            return await reading

    assert play(talk()) == b"hello"


def say_with_the_handshake(raw: socket.socket, words: bytes) -> None:
    """Shake hands as a client, and send the last of it and the words as one."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    keys = context(False, ssl.SSLSocket, CERTIFICATE, KEY)
    client = keys.wrap_bio(incoming, outgoing)
    while True:
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            raw.sendall(outgoing.read())
            incoming.write(raw.recv(1 << 16))
        else:
            break
    client.write(words)
    raw.sendall(outgoing.read())


def test_one_that_stops_in_its_first_record_holds_up_nobody_else() -> None:
    async def talk() -> None:
        with socket.create_server(("127.0.0.1", 0)) as door:
            slow = socket.create_connection(door.getsockname())
            half = Side(door.accept()[0], True)
        shaking = asyncio.ensure_future(half.shaken())
        slow.sendall(b"\x16\x03\x01")  # of the five bytes of a header
        with sides() as (one, other):
            await both_shaken(one, other)
            await one.stream.write(b"hello")
            assert await other.read(5) == b"hello"
        assert not shaking.done()
        slow.close()
        with pytest.raises(ssl.SSLEOFError):
            await shaking

    play(talk())


@pytest.mark.parametrize("sockets", CLASSES)
def test_a_stranger_is_refused_and_told(sockets: str) -> None:
    keys = {"certificate": ANOTHER_CERTIFICATE, "key": ANOTHER_KEY}

    async def talk() -> list[BaseException | None]:
        with sides(CLASSES[sockets], **keys) as (one, other):
            return await asyncio.gather(
                one.shaken(), other.shaken(), return_exceptions=True
            )

    mine, theirs = play(talk())
    assert "CERTIFICATE_VERIFY_FAILED" in str(real(mine))
    assert "ALERT" in str(real(theirs)).upper()


def real(error: BaseException | None) -> BaseException | None:
    return getattr(error, "real_error", None) or error


@pytest.mark.parametrize(
    ("came", "missing"), [(1000, 1), (1000, 5_000_000), (3_000_000, 2_000_000)]
)
def test_a_side_that_ends_in_a_frame_is_the_end_of_the_stream(
    came: int, missing: int
) -> None:
    async def talk() -> None:
        with sides() as (one, other):
            await both_shaken(one, other)
            reading = asyncio.ensure_future(other.read(came + missing))
            await one.stream.write(bytes(came))
            one.stream.close()
            with pytest.raises(StreamClosedError):
                await reading

    play(talk())


@pytest.mark.parametrize("drop", [1, 1000, 16_384, 16_385, 60_000, 200_000])
def test_a_frame_that_comes_in_drops_arrives(drop: int) -> None:
    # The last of it are the smallest that the kernel is asked to wait for, and fewer.
    size = 3 * tls_socket.RECEIVED + 12_345

    async def talk() -> None:
        with sides() as (one, other):
            await both_shaken(one, other)
            sent = os.urandom(size)
            reading = asyncio.ensure_future(other.read(size))
            last = 200 * drop if drop < 1000 else size
            await one.stream.write(sent[: size - last])
            for start in range(size - last, size, drop):
                await one.stream.write(sent[start : start + drop])
                await asyncio.sleep(0)
            assert await reading == sent
            await one.stream.write(b"hello")
            assert await other.read(5) == b"hello"

    play(talk())


def test_what_came_before_a_reset_is_read() -> None:
    async def talk() -> None:
        with sides() as (one, other):
            await both_shaken(one, other)
            await one.stream.write(b"last words")
            linger = struct.pack("ii", 1, 0)
            one.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            one.stream.close()
            assert await other.read(10) == b"last words"
            with pytest.raises(StreamClosedError):
                await other.read(1)

    play(talk())


def test_one_that_reads_nothing_gets_all_when_it_does() -> None:
    size = 30_000_000

    async def talk() -> None:
        with sides() as (one, other):
            await both_shaken(one, other)
            sent = os.urandom(size)
            writing = one.stream.write(sent)
            # The echo of another frame comes while this one waits.
            await other.stream.write(b"hello")
            assert await one.read(5) == b"hello"
            assert one.stream.writing()
            assert await other.read(size) == sent
            await writing

    play(talk())


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no process find another as a neighbour."""
    monkeypatch.setattr(node_socket, "connect", lambda *_: None)


@pytest.mark.usefixtures("apart")
def test_dask_uses_them_between_nodes_and_knows_whom_it_talks_to() -> None:
    async def talk() -> None:
        keys = security()
        async with echoing() as address:
            comm = await connect(address, **keys.get_connection_args("client"))
            assert type(comm) is tcp.TLS
            assert type(comm.stream.socket) is tls_socket.Socket
            assert comm.stream.socket.version() == "TLSv1.3"
            assert comm.extra_info["cipher"][1] == "TLSv1.3"
            assert comm.extra_info["peercert"]["subject"]
            await comm.write({"x": bytes(3_000_000)})
            assert await comm.read() == {"x": bytes(3_000_000)}
            await comm.close()

    play(talk())
