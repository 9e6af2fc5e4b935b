"""Requests that go through the proxy, over a hub, to an HTTP server and back."""

from __future__ import annotations

import asyncio
import json
import socket

from tornado.iostream import IOStream
from tornado.websocket import websocket_connect

from dask_runner.proxy import html
from tests.local.proxied import LARGE, Proxied, hang_up, playing
from tests.unit.stage import PATIENCE


def test_a_page_comes_with_what_was_asked_and_no_secret_goes_to_the_cluster() -> None:
    async def play(there: Proxied) -> None:
        headers = {"X-Mine": "1", "Authorization": "token of-jupyter"}
        got = await there.fetch("/echo?a=b%20c", headers=headers)

        assert got.code == 200
        assert json.loads(got.body) == {"path": "/echo?a=b%20c"}
        seen = there.seen.headers
        assert seen["X-Mine"] == "1"
        assert not {"Cookie", "Authorization", "Origin"} & seen.keys()

    playing(play)


def test_a_head_has_no_body_and_its_length() -> None:
    async def play(there: Proxied) -> None:
        got = await there.fetch("/echo", method="HEAD")

        assert (got.code, got.headers["Content-Length"], got.body) == (200, "12", b"")

    playing(play)


def test_a_page_that_the_browser_has_is_not_sent_again() -> None:
    async def play(there: Proxied) -> None:
        etag = (await there.fetch("/echo")).headers["Etag"]
        got = await there.fetch("/echo", headers={"If-None-Match": etag})

        assert (got.code, got.body) == (304, b"")

    playing(play)


def test_bodies_of_any_size_go_both_ways() -> None:
    async def play(there: Proxied) -> None:
        body = bytes(range(256)) * 50_000
        plain = {"Content-Type": "application/octet-stream"}
        sent = await there.fetch("/echo", method="POST", body=body, headers=plain)

        async def pieces(write: object) -> None:
            for at in range(0, len(body), 100_000):
                await write(body[at : at + 100_000])  # type: ignore[operator]

        how = {"body_producer": pieces, "headers": plain}
        streamed = await there.fetch("/echo", method="POST", **how)

        assert sent.body == streamed.body == body
        assert len((await there.fetch("/large")).body) == LARGE

    playing(play)


async def raw(there: Proxied, *lines: str) -> IOStream:
    """Send a request's head, and return its connection."""
    stream = IOStream(socket.socket())
    await stream.connect(("127.0.0.1", there.own.port))
    cookie = f"Cookie: {there.cookie['Cookie']}"
    head = (lines[0], f"Host: 127.0.0.1:{there.own.port}", cookie, *lines[1:])
    await stream.write("\r\n".join((*head, "", "")).encode())
    return stream


def test_a_browser_that_reads_slowly_fills_no_memory() -> None:
    async def play(there: Proxied) -> None:
        stream = await raw(there, "GET /large HTTP/1.1")
        await stream.read_until(b"\r\n\r\n")
        before = -1
        # It stands still when all buffers on the way are full.
        while there.seen.sent > before:
            before = there.seen.sent
            await asyncio.sleep(0.5)
        assert there.seen.sent < LARGE / 2
        # And goes on.
        left = LARGE
        while left > 0:
            left -= len(await stream.read_bytes(1 << 20, partial=True))
        stream.close()

    playing(play)


def test_a_connection_serves_one_request_after_the_other() -> None:
    async def play(there: Proxied) -> None:
        stream = await raw(there, "GET /echo HTTP/1.1")
        for _ in range(3):
            head = await stream.read_until(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert b"close" not in head.lower()
            await stream.read_bytes(17)
            cookie = f"Cookie: {there.cookie['Cookie']}\r\n\r\n"
            again = f"GET /echo HTTP/1.1\r\nHost: localhost\r\n{cookie}"
            await stream.write(again.encode())
        stream.close()

    playing(play)


def test_the_cookie_is_asked_of_each_request_of_a_connection() -> None:
    async def play(there: Proxied) -> None:
        stream = await raw(there, "GET /echo HTTP/1.1")
        await stream.read_until(b"\r\n\r\n")
        await stream.read_bytes(17)
        await stream.write(b"GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n")

        assert (await stream.read_until(b"\r\n")).startswith(b"HTTP/1.1 403")
        stream.close()

    playing(play)


def test_many_pages_are_fetched_at_once() -> None:
    async def play(there: Proxied) -> None:
        got = await asyncio.gather(*(there.fetch(f"/echo?{n}") for n in range(60)))

        assert [json.loads(one.body)["path"] for one in got] == [
            f"/echo?{n}" for n in range(60)
        ]

    playing(play)


def test_the_dashboard_hears_that_the_browser_has_left() -> None:
    async def play(there: Proxied) -> None:
        stream = await raw(there, "GET /forever HTTP/1.1")
        await stream.read_until(b"begun\n")
        stream.close()
        async with asyncio.timeout(PATIENCE):
            await there.seen.left.wait()

    playing(play)


def test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one() -> None:
    async def play(there: Proxied) -> None:
        stream = await raw(there, "GET /broken HTTP/1.1")
        rest = await stream.read_until_close()

        assert b"Content-Length: 100" in rest
        assert rest.endswith(b"begun\n")

    playing(play)


def test_a_dashboard_that_says_nothing_is_told_in_words() -> None:
    async def play(there: Proxied) -> None:
        got = await there.fetch("/silent")

        assert got.code == 503
        assert b"does not answer" in got.body

    playing(play)


def test_the_status_page_is_waited_for_while_it_is_loaded() -> None:
    async def play(there: Proxied) -> None:
        got = await there.fetch("/status")

        assert (got.code, got.headers["Refresh"]) == (503, str(html.AGAIN_SECONDS))
        assert b"being loaded" in got.body
        # Another page that is not there is not there.
        assert (await there.fetch("/nothing")).code == 404

    playing(play)


def test_a_websocket_carries_words_both_ways_until_either_side_closes_it() -> None:
    async def play(there: Proxied) -> None:
        words = await websocket_connect(there.websocket(), subprotocols=["bokeh", "t"])
        await words.write_message("ab")
        assert await words.read_message() == "abab"
        large = bytes(1 << 20)
        await words.write_message(large, binary=True)
        assert await words.read_message() == large * 2
        assert words.selected_subprotocol == "bokeh"
        await hang_up(words)
        async with asyncio.timeout(PATIENCE):
            await there.seen.left.wait()

    playing(play)


def test_a_websocket_that_the_dashboard_refuses_ends_its_connection() -> None:
    async def play(there: Proxied) -> None:
        lines = ("Upgrade: websocket", "Connection: Upgrade")
        key = (
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        )
        stream = await raw(there, "GET /nothing HTTP/1.1", *lines, *key)
        rest = await stream.read_until_close()

        assert rest.startswith(b"HTTP/1.1 404")

    playing(play)


def test_a_cluster_that_is_not_ready_is_waited_for() -> None:
    async def play(there: Proxied) -> None:
        got = await there.fetch("/status")

        assert (got.code, got.headers["Refresh"]) == (503, str(html.AGAIN_SECONDS))
        assert b"the cluster is starting" in got.body

    playing(play, complete=False)


def test_a_cluster_without_a_dashboard_is_told_in_three_parts() -> None:
    async def play(there: Proxied) -> None:
        got = await there.fetch("/status")

        assert got.code == 404
        assert b"no dashboard" in got.body
        assert b"needed:" in got.body
        assert b"you can:" in got.body

    playing(play, dashboard=False)


def test_a_hub_that_is_gone_is_told_with_what_was_tried() -> None:
    async def play(there: Proxied) -> None:
        await there.stage.hub.shut()
        got = await there.fetch("/echo")

        assert got.code == 504
        assert b"nothing listens there" in got.body

    playing(play)


def test_the_browser_is_sent_to_pages_of_the_same_cluster() -> None:
    async def play(there: Proxied) -> None:
        assert (await there.fetch("/elsewhere")).headers["Location"] == "/other"
        assert (await there.fetch("/")).headers["Location"] == "status"

    playing(play)
