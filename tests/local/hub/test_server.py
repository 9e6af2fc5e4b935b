"""Who is let in at the hub, and who counts as gone."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from dask_runner.hub import listener
from dask_runner.hub import messages as m
from dask_runner.wire import mutual_tls
from tests.local.served import LOOPBACK, Served
from tests.unit.stage import PATIENCE, all_leave, ready
from tests.unit.stage import playing as playing_on

if TYPE_CHECKING:
    import pytest


playing = partial(playing_on, kind=Served)


def test_who_does_not_begin_with_hello_is_refused() -> None:
    async def play(stage: Served) -> None:
        channel = await stage.connect()
        channel.send(m.Ping())
        async with asyncio.timeout(PATIENCE):
            assert await channel.receive() is None
        assert "Hello" in stage.said.warnings[0]

    playing(2)(play)


def test_strangers_are_warned_of_once_and_do_no_harm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mutual_tls, "HANDSHAKE_SECONDS", 0.2)

    async def play(stage: Served) -> None:
        for _ in range(20):
            reader, writer = await asyncio.open_connection(
                LOOPBACK,
                stage.port,
            )
            writer.write(b"GET / HTTP/1.1\r\n" * 10)
            # The server closes with words of the stranger unread, which is a reset.
            with suppress(ConnectionResetError):
                await reader.read()
            writer.close()
        await ready(stage, 2)
        assert len(stage.said.warnings) == 1

    playing(2)(play)


def test_silent_strangers_do_not_keep_the_ranks_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mutual_tls, "HANDSHAKE_SECONDS", 0.5)

    async def play(stage: Served) -> None:
        crowd = [
            await asyncio.open_connection(LOOPBACK, stage.port)
            for _ in range(listener.STRANGERS + 8)
        ]
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    channel = await mutual_tls.connect(stage.record(), 2)
                    break
                except mutual_tls.StrangerError:
                    continue
        await channel.closed()
        for _, writer in crowd:
            writer.close()

    playing(2)(play)


def test_a_rank_that_sends_garbage_is_lost() -> None:
    async def play(stage: Served) -> None:
        ranks = await ready(stage, 3)
        ranks[2].channel._writer.write(b"\0\0\0\2" + b"x" * 34)  # noqa: SLF001
        await stage.until(lambda: stage.said.warnings)
        assert "lost rank 2 on c1" in stage.said.warnings[0]

    playing(3)(play)


def test_a_message_that_no_rank_may_send_is_a_loss_and_no_crash() -> None:
    async def play(stage: Served) -> None:
        ranks = await ready(stage, 3)
        ranks[2].say(m.Finish())
        await stage.until(lambda: stage.said.warnings)
        ranks[0].say(m.ClientEnded(0, ""))
        await all_leave(ranks[:2])
        assert await stage.status() == 0

    playing(3)(play)


def test_a_silent_rank_is_lost() -> None:
    async def play(stage: Served) -> None:
        ranks = await ready(stage, 2)

        async def beat() -> None:
            while True:
                ranks[0].say(m.Ping())
                await asyncio.sleep(0.05)

        beating = asyncio.create_task(beat())
        await stage.until(lambda: stage.said.warnings)
        beating.cancel()
        assert "lost rank 1 on c1: no sign of life" in stage.said.warnings[0]
        assert not stage.finished.done()

    playing(2, silence=0.3)(play)
