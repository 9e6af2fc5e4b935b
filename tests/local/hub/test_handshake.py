"""Who may speak to a hub: over real connections, with all sorts of strangers.

A few lines longer than a file should be: the strangers at a hub and those at a rank are
largely the same.
"""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, Any

import pytest

from dask_runner.hub import handshake
from dask_runner.hub import messages as m
from dask_runner.hub.handshake import GREETING, NONCE, StrangerError
from dask_runner.meeting.record import Record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dask_runner.hub.channel import Channel

SECRET = b"s" * 32
LOOPBACK = "127.0.0.1"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def record(port: int, secret: bytes = SECRET) -> Record:
    return Record("key", "nonce", "node", LOOPBACK, port, secret.hex(), "", "")


@pytest.fixture(autouse=True)
def _short_handshakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshake, "HANDSHAKE", 0.5)


@asynccontextmanager
async def listening(answer: Answer) -> AsyncIterator[int]:
    """Serve *answer* on a port of its own."""
    tasks: list[asyncio.Task[None]] = []

    async def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())  # type: ignore[arg-type]
        try:
            await answer(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(begin, LOOPBACK, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def strangers_at_the_hub(
    behave: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> str:
    """Return why the hub refused who behaves like this."""

    async def play() -> str:
        verdict: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def hub(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            try:
                await handshake.accept(reader, writer, SECRET)
            except StrangerError as error:
                verdict.set_result(str(error))
            else:
                verdict.set_result("")

        async with listening(hub) as port, asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            with closing(writer):
                await behave(reader, writer)
                return await verdict

    return asyncio.run(play())


def reached(answer: Answer, seconds: float = 2, secret: bytes = SECRET) -> None:
    """Connect, as a rank does, to a server that answers like this."""

    async def play() -> None:
        async with listening(answer) as port, asyncio.timeout(5):
            channel = await handshake.connect(record(port, secret), seconds)
            await channel.closed()

    asyncio.run(play())


def test_both_ends_with_the_secret_speak_to_each_other() -> None:
    async def play() -> tuple[m.Message | None, m.Message | None]:
        heard: list[m.Message | None] = []

        async def hub(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            channel = await handshake.accept(reader, writer, SECRET)
            heard.append(await channel.receive())
            channel.send(m.Finish())
            await channel.closed()

        async with listening(hub) as port, asyncio.timeout(5):
            channel: Channel = await handshake.connect(record(port), 2)
            channel.send(m.NodeHello("c1"))
            answer = await channel.receive()
            await channel.closed()
        return heard[0], answer

    assert asyncio.run(play()) == (m.NodeHello("c1"), m.Finish())


async def _nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    del reader, writer


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
    del reader
    writer.write(b"x" * 40)
    writer.write_eof()


async def _http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    del reader
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nAccept: text/html, */*\r\n\r\n" * 3)


async def _wrong(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(len(GREETING) + NONCE)
    writer.write(os.urandom(NONCE + 32))


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    greeting = await reader.readexactly(len(GREETING) + NONCE)
    writer.write(greeting[-NONCE:] + greeting[-NONCE:])


@pytest.mark.parametrize(
    ("behave", "why"),
    [
        (_nothing, "no proof"),
        (_scan, "no proof"),
        (_reset, "no proof"),
        (_half, "no proof"),
        (_http, "a wrong proof"),
        (_wrong, "a wrong proof"),
        (_echo, "a wrong proof"),
    ],
)
def test_the_hub_refuses_strangers(behave: Answer, why: str) -> None:
    assert why in strangers_at_the_hub(behave)


async def _accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await handshake.accept(reader, writer, SECRET)


async def _silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    del writer
    await reader.read()


async def _ssh(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n")
    await reader.read()


async def _half_hub(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(GREETING + b"x" * 5)
    writer.write_eof()
    await reader.read()


async def _impostor(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(GREETING + os.urandom(NONCE))
    await reader.readexactly(NONCE + 32)
    writer.write(os.urandom(32))
    await reader.read()


async def _mirror(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # Sends a rank's own proof back to it, which must not do as the hub's.
    nonce = os.urandom(NONCE)
    writer.write(GREETING + nonce)
    answer = await reader.readexactly(NONCE + 32)
    writer.write(answer[NONCE:])
    await reader.read()


@pytest.mark.parametrize("answer", [_scan, _ssh, _half_hub, _impostor, _mirror])
def test_a_rank_refuses_what_is_not_its_hub(answer: Answer) -> None:
    with pytest.raises(StrangerError) as caught:
        reached(answer)
    assert str(caught.value)


def test_a_rank_waits_for_a_silent_hub_no_longer_than_it_was_told() -> None:
    with pytest.raises(TimeoutError):
        reached(_silence)


def test_a_rank_with_another_secret_is_told_nothing() -> None:
    with pytest.raises(StrangerError):
        reached(_quiet_accept, secret=b"x" * 32)


async def _quiet_accept(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    with pytest.raises(StrangerError, match="wrong proof"):
        await handshake.accept(reader, writer, SECRET)


def test_a_rank_whose_peer_resets_the_connection_tries_on() -> None:
    # OSError or StrangerError: both mean "not this one", and nothing leaks.
    with pytest.raises((OSError, StrangerError)):
        reached(_reset)


def test_a_dead_address_is_an_os_error() -> None:
    async def play() -> None:
        async with listening(_nothing) as port:
            pass
        await handshake.connect(record(port), 2)

    with pytest.raises(OSError, match="Connect call failed"):
        asyncio.run(play())


def test_an_address_that_swallows_everything_is_given_up_in_time() -> None:
    async def play() -> float:
        import socket  # noqa: PLC0415

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
                await handshake.connect(record(port), 0.3)
            for filler in fillers:
                filler.close()
            return loop.time() - began

    assert asyncio.run(play()) < 2


def test_a_replayed_session_is_refused() -> None:
    async def play() -> None:
        errors: list[Any] = []
        recorded = bytearray()

        async def hub(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            try:
                channel = await handshake.accept(reader, writer, SECRET)
                assert await channel.receive() == m.Ping()
            except StrangerError as error:
                errors.append(error)

        async with listening(hub) as port, asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)

            real = writer.write

            def tapped(data: bytes) -> None:
                recorded.extend(data)
                real(data)

            writer.write = tapped  # type: ignore[method-assign]
            key = await handshake._shake_hands(reader, writer, SECRET)  # noqa: SLF001
            assert key
            writer.close()
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.write(bytes(recorded))
            await reader.read()
            writer.close()
        assert "wrong proof" in str(errors[-1])

    asyncio.run(play())
