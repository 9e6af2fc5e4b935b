"""Who may speak to a hub: over real connections, with all sorts of strangers.

The two halves, what strangers do at a hub and what a node finds in place of one, are in
one file because they share the servers that misbehave.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from typing import TYPE_CHECKING

import pytest

from dask_runner.hub import messages as m
from dask_runner.meeting import tls
from dask_runner.meeting.record import Record
from dask_runner.wire import mutual_tls
from dask_runner.wire.message import Message, encode
from dask_runner.wire.mutual_tls import StrangerError, Welcome

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dask_runner.wire.channel import Channel

CERTIFICATE, KEY = tls.material()
HUB = mutual_tls.context(CERTIFICATE, KEY, server=True)
#: Another cluster's: the names in it are the same.
OTHER = tls.material()
LOOPBACK = "127.0.0.1"
PATIENCE = 20.0

Answer = Callable[[socket.socket], Awaitable[None]]
Behave = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def record(port: int, material: tuple[str, str] = (CERTIFICATE, KEY)) -> Record:
    return Record("key", "nonce", "node", LOOPBACK, port, *material)


@pytest.fixture(autouse=True)
def _short_handshakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutual_tls, "HANDSHAKE_SECONDS", 2.0)


@asynccontextmanager
async def listening(answer: Answer) -> AsyncIterator[int]:
    """Serve *answer*, which gets a connection as it comes, on a port of its own."""
    loop = asyncio.get_running_loop()
    tasks: list[asyncio.Task[None]] = []

    async def listen(server: socket.socket) -> None:
        while True:
            sock, _ = await loop.sock_accept(server)
            tasks.append(asyncio.create_task(begin(sock)))

    async def begin(sock: socket.socket) -> None:
        with closing(sock):
            await answer(sock)

    with socket.create_server((LOOPBACK, 0)) as server:
        server.setblocking(False)
        tasks.append(asyncio.create_task(listen(server)))
        try:
            yield server.getsockname()[1]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def as_a_stream(behave: Behave) -> Answer:
    """Return what answers like this, without TLS."""

    async def answer(sock: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=sock.dup())
        with closing(writer), suppress(ConnectionError):
            await behave(reader, writer)

    return answer


def over_tls(context: ssl.SSLContext, welcome: Message | None = None) -> Answer:
    """Return what answers with this context, and says this."""

    async def answer(sock: socket.socket) -> None:
        channel = await mutual_tls._secured(sock.dup(), context, server=True)  # noqa: SLF001
        if welcome is not None:
            channel.send(welcome)
        await channel.closed()

    return answer


def reached(
    answer: Answer, seconds: float = 2, material: tuple[str, str] = (CERTIFICATE, KEY)
) -> None:
    """Connect, as a node does, to a server that answers like this."""

    async def play() -> None:
        async with listening(answer) as port, asyncio.timeout(PATIENCE):
            channel = await mutual_tls.connect(record(port, material), seconds)
            await channel.closed()

    asyncio.run(play())


def test_both_ends_with_the_key_speak_to_each_other() -> None:
    heard: list[Message | None] = []

    async def hub(sock: socket.socket) -> None:
        channel = await mutual_tls.accept(sock.dup(), HUB)
        heard.append(await channel.receive())
        channel.send(m.Finish())
        await channel.closed()

    async def play() -> Message | None:
        async with listening(hub) as port, asyncio.timeout(PATIENCE):
            channel: Channel = await mutual_tls.connect(record(port), 2)
            channel.send(m.NodeHello("c1"))
            answer = await channel.receive()
            await channel.closed()
        return answer

    assert asyncio.run(play()) == m.Finish()
    assert heard == [m.NodeHello("c1")]


def test_what_is_said_is_not_to_be_read_on_the_way() -> None:
    passed = bytearray()

    async def play() -> None:
        async with listening(hub) as port:

            async def tap(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter
            ) -> None:
                there, back = await asyncio.open_connection(LOOPBACK, port)
                await asyncio.gather(pump(reader, back), pump(there, writer))

            async with listening(as_a_stream(tap)) as tapped, asyncio.timeout(PATIENCE):
                channel = await mutual_tls.connect(record(tapped), 2)
                channel.send(m.NodeHello("a-name-to-be-seen"))
                assert await channel.receive() == m.Note("another-to-be-seen")
                await channel.closed()

    async def hub(sock: socket.socket) -> None:
        channel = await mutual_tls.accept(sock.dup(), HUB)
        await channel.receive()
        channel.send(m.Note("another-to-be-seen"))
        await channel.closed()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer):
            while piece := await reader.read(4096):
                passed.extend(piece)
                writer.write(piece)

    asyncio.run(play())
    assert len(passed) > 1000
    assert b"to-be-seen" not in passed


def test_a_byte_that_is_changed_on_the_way_ends_the_connection() -> None:
    ends: list[Message | None] = []

    async def hub(sock: socket.socket) -> None:
        channel = await mutual_tls.accept(sock.dup(), HUB)
        ends.append(await channel.receive())
        await channel.closed()

    async def play() -> None:
        async with listening(hub) as port, asyncio.timeout(PATIENCE):
            channel = await mutual_tls.connect(record(port), 2)
            # A record of TLS that no key of this connection has made.
            sock = channel._writer.get_extra_info("socket")  # noqa: SLF001
            os.write(sock.fileno(), b"\x17\x03\x03\x00\x20" + bytes(32))
            assert await channel.receive() is None
            await channel.closed()

    asyncio.run(play())
    assert ends == [None]


# --- strangers at the hub -----------------------------------------------------


async def _nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    del writer


async def _scan(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    del reader
    writer.close()


async def _reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    del reader
    sock = writer.get_extra_info("socket")
    # linger on, for 0 s: close() becomes a reset
    sock.setsockopt(1, 13, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # Of a ClientHello, whose length says that there is more.
    writer.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(32))
    await reader.read()


async def _http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nAccept: text/html, */*\r\n\r\n" * 3)
    await reader.read()


async def _plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    payload = encode(m.NodeHello("c1"))
    writer.write(struct.pack(">I", len(payload)) + payload)
    await reader.read()


@pytest.mark.parametrize(
    ("behave", "why"),
    [
        (_nothing, "no proof"),
        (_scan, "no proof"),
        (_reset, "no proof"),
        (_half, "no proof"),
        (_http, "a wrong proof (http request)"),
        (_plain, "a wrong proof"),
    ],
)
def test_the_hub_refuses_strangers(behave: Behave, why: str) -> None:
    async def talk(port: int) -> None:
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        with closing(writer), suppress(ConnectionError):
            await behave(reader, writer)

    assert why in refused(talk)


def without_a_certificate() -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.load_verify_locations(cadata=CERTIFICATE)
    return made


def of_another_cluster() -> ssl.SSLContext:
    made = without_a_certificate()
    with tls.in_memory(OTHER[0]) as certificate, tls.in_memory(OTHER[1]) as key:
        made.load_cert_chain(certificate, key)
    return made


def of_an_older_protocol() -> ssl.SSLContext:
    made = mutual_tls.context(CERTIFICATE, KEY, server=False)
    made.minimum_version = made.maximum_version = ssl.TLSVersion.TLSv1_2
    return made


@pytest.mark.parametrize(
    ("context", "why"),
    [
        (without_a_certificate, "peer did not return a certificate"),
        (of_another_cluster, "certificate verify failed"),
        (of_an_older_protocol, "unsupported protocol"),
    ],
)
def test_the_hub_refuses_whoever_has_not_the_key(
    context: Callable[[], ssl.SSLContext], why: str
) -> None:
    told: list[Message | None] = []

    async def talk(port: int) -> None:
        sock = await mutual_tls._connected(LOOPBACK, port, 2)  # noqa: SLF001
        with suppress(ssl.SSLError, ConnectionError):
            channel = await mutual_tls._secured(sock, context(), server=False)  # noqa: SLF001
            channel.send(m.NodeHello("c1"))
            told.append(await channel.receive())
            await channel.closed()

    assert refused(talk) == f"a wrong proof ({why})"
    assert told in ([], [None])


def refused(talk: Callable[[int], Awaitable[None]]) -> str:
    """Return why the hub has refused who talks to it like this."""

    async def play() -> str:
        verdict: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def hub(sock: socket.socket) -> None:
            try:
                await mutual_tls.accept(sock.dup(), HUB)
            except StrangerError as error:
                verdict.set_result(str(error))
            else:
                verdict.set_result("")

        async with listening(hub) as port, asyncio.timeout(PATIENCE):
            await talk(port)
            return await verdict

    return asyncio.run(play())


# --- what a node finds instead of its hub -------------------------------------


async def _silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    del writer
    await reader.read()


async def _ssh(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n")
    await reader.read()


async def _mirror(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # Sends a node's own words back to it.
    while piece := await reader.read(4096):
        writer.write(piece)


@pytest.mark.parametrize(
    "answer",
    [
        as_a_stream(_ssh),
        as_a_stream(_mirror),
        over_tls(mutual_tls.context(*OTHER, server=True), Welcome()),
        over_tls(HUB),
        over_tls(HUB, m.Ping()),
    ],
    ids=["ssh", "mirror", "another cluster", "one that hangs up", "no welcome"],
)
def test_a_node_refuses_what_is_not_its_hub(answer: Answer) -> None:
    with pytest.raises(StrangerError) as caught:
        reached(answer)
    assert str(caught.value)


def test_a_node_waits_for_a_silent_hub_no_longer_than_it_was_told() -> None:
    with pytest.raises(TimeoutError):
        reached(as_a_stream(_silence))


@pytest.mark.parametrize("leave", [_scan, _reset])
def test_a_node_whose_peer_leaves_tries_on(leave: Behave) -> None:
    # OSError or StrangerError: both mean "not this one", and nothing leaks.
    with pytest.raises((OSError, StrangerError)):
        reached(as_a_stream(leave))


def test_a_dead_address_is_an_os_error() -> None:
    async def play() -> None:
        async with listening(as_a_stream(_nothing)) as port:
            pass
        await mutual_tls.connect(record(port), 2)

    with pytest.raises(OSError, match="Connect call failed"):
        asyncio.run(play())


def test_an_address_that_swallows_everything_is_given_up_in_time() -> None:
    async def play() -> float:
        # A listener with a full queue: the kernel drops further SYNs.
        with socket.create_server((LOOPBACK, 0), backlog=0) as server:
            port = server.getsockname()[1]
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex((LOOPBACK, port))
            loop = asyncio.get_running_loop()
            began = loop.time()
            with pytest.raises((TimeoutError, StrangerError)):
                await mutual_tls.connect(record(port), 0.3)
            for filler in fillers:
                filler.close()
            return loop.time() - began

    assert asyncio.run(play()) < 2


def test_a_node_that_leaves_does_not_wait_for_a_hub_that_stands_still() -> None:
    async def hub(sock: socket.socket) -> None:
        channel = await mutual_tls.accept(sock.dup(), HUB)
        channel._writer.transport.pause_reading()  # type: ignore[attr-defined] # noqa: SLF001
        try:
            await asyncio.sleep(10)
        finally:
            channel.abort()

    async def play() -> float:
        async with listening(hub) as port, asyncio.timeout(PATIENCE):
            channel = await mutual_tls.connect(record(port), 2)
            began = asyncio.get_running_loop().time()
            await channel.closed()
            return asyncio.get_running_loop().time() - began

    assert asyncio.run(play()) < mutual_tls.FAREWELL_SECONDS + 1


def test_no_key_is_in_a_file_that_has_a_name() -> None:
    program = """
import os, sys
from dask_runner.wire import mutual_tls
from dask_runner.meeting import tls
material = tls.material()
opened = []
sys.addaudithook(lambda event, args: opened.append(args) if event == "open" else None)
mutual_tls.context(*material, server=True)
assert not [one for one in opened if isinstance(one[0], str)], opened
"""
    subprocess.run([sys.executable, "-c", program], check=True)
