"""Who is served, and who waits."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from tornado.httpclient import HTTPClientError
from tornado.websocket import websocket_connect

from dask_runner.proxy import peers, server
from tests.local.proxied import Proxied, hang_up, playing
from tests.unit.stage import PATIENCE


async def connect(there: Proxied) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", there.own.port)


def test_the_link_gives_a_cookie_and_the_cookie_the_pages() -> None:
    async def play(there: Proxied) -> None:
        path = there.own.link.removeprefix(there.base)
        got = await there.fetch(path, headers={"Cookie": ""})

        assert (got.code, got.headers["Location"]) == (302, "/status")
        cookie = got.headers["Set-Cookie"].partition(";")[0]
        assert (await there.fetch("/echo", headers={"Cookie": cookie})).code == 200

    playing(play)


def test_without_it_all_gets_403_and_nothing_reaches_the_cluster() -> None:
    async def play(there: Proxied) -> None:
        for path in ("/", "/echo", "/status", "/nothing", "/echo?token=guess"):
            got = await there.fetch(path, headers={"Cookie": "dask-runner-1=x"})
            assert got.code == 403
        wrong = {"Host": "somebody.example"}
        assert (await there.fetch("/echo", headers=wrong)).code == 403
        assert there.seen.headers == {}

    playing(play)


def test_a_websocket_opens_for_pages_of_the_proxy_alone() -> None:
    async def play(there: Proxied) -> None:
        for wrong in ({"Origin": "http://127.0.0.1:1"}, {"Cookie": ""}):
            with pytest.raises(HTTPClientError, match="403"):
                await websocket_connect(there.websocket(**wrong))
        await hang_up(await websocket_connect(there.websocket()))

    playing(play)


def test_the_right_cookie_from_another_account_gets_403(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peers, "owner", lambda *_: 4711)

    async def play(there: Proxied) -> None:
        assert (await there.fetch("/echo")).code == 403
        assert there.seen.headers == {}

    playing(play)


def test_those_who_wait_longest_make_room_and_the_owner_gets_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "STRANGERS", 20)

    async def play(there: Proxied) -> None:
        socket = await websocket_connect(there.websocket())
        crowd = [await connect(there) for _ in range(60)]
        first, *_ = crowd
        async with asyncio.timeout(PATIENCE):
            assert await first[0].read() == b""
        assert (await there.fetch("/echo")).code == 200
        await socket.write_message("a")
        assert await socket.read_message() == "aa"
        await hang_up(socket)
        for _, writer in crowd:
            writer.close()

    playing(play)


def test_one_who_says_nothing_does_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "IDLE_SECONDS", 0.1)

    async def play(there: Proxied) -> None:
        reader, writer = await connect(there)
        async with asyncio.timeout(PATIENCE):
            assert await reader.read() == b""
        writer.close()

    playing(play)


GARBAGE = {
    "zeros": bytes(70_000),
    "half a word": b"GET",
    "no end": b"GET / HTTP/1.1\r\n" * 9999,
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_ends_its_connection_and_no_other(kind: str) -> None:
    async def play(there: Proxied) -> None:
        reader, writer = await connect(there)
        writer.write(GARBAGE[kind])
        with contextlib.suppress(ConnectionResetError):
            writer.write_eof()
            async with asyncio.timeout(PATIENCE):
                assert b"200" not in await reader.read()
        writer.close()
        assert (await there.fetch("/echo")).code == 200

    playing(play)
