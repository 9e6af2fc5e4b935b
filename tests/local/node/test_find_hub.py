"""How a rank reaches the hub that a record names."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from dask_runner.errors import AssemblyError
from dask_runner.meeting import tls
from dask_runner.meeting.by_file import FileMeeting
from dask_runner.node import find_hub
from dask_runner.wire import mutual_tls
from tests.unit.records import KEY, RECORD, published

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

LOOPBACK = "127.0.0.1"
CERTIFICATE, KEY_OF_IT = tls.material()
HUB = mutual_tls.context(CERTIFICATE, KEY_OF_IT, server=True)


def found_at_a_hub_that_takes(
    seconds: float, directory: Path, patience: float
) -> tuple[find_hub.Linked | find_hub.Broken, int]:
    """Look for a hub that answers so late; return what came of it, after how many."""
    path = directory / "record.json"
    listener = socket.create_server((LOOPBACK, 0))
    listener.setblocking(False)
    port = listener.getsockname()[1]
    material = {"certificate": CERTIFICATE, "private_key": KEY_OF_IT}
    published(path, replace(RECORD, port=port, **material))
    guests: list[asyncio.Task[None]] = []

    async def answer_late(sock: socket.socket) -> None:
        with closing(sock):
            await asyncio.sleep(seconds)
            with suppress(mutual_tls.StrangerError):  # it has given up
                channel = await mutual_tls.accept(sock.dup(), HUB)
                await channel.receive()
                await channel.closed()

    async def listen() -> None:
        while True:
            sock, _ = await asyncio.get_running_loop().sock_accept(listener)
            guests.append(asyncio.create_task(answer_late(sock)))

    async def play() -> find_hub.Linked | find_hub.Broken:
        listening = asyncio.create_task(listen())
        meeting = FileMeeting([path], KEY)
        outcome = await find_hub.find(1, "c1", meeting, patience)
        if isinstance(outcome, find_hub.Linked):
            await outcome.channel.closed()
        for task in (listening, *guests):
            task.cancel()
        await asyncio.gather(listening, *guests, return_exceptions=True)
        return outcome

    with listener:
        return asyncio.run(play()), len(guests)


def test_a_rank_waits_longer_each_time_for_a_hub_that_is_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find_hub, "FIRST_ATTEMPT_SECONDS", 0.1)
    monkeypatch.setattr(mutual_tls, "HANDSHAKE_SECONDS", 0.1)
    outcome, tries = found_at_a_hub_that_takes(0.3, tmp_path, 20)
    assert isinstance(outcome, find_hub.Linked)
    # Not in 0.1 and 0.2 s, but in 0.4 s, or on a busy machine a little later.
    assert 2 < tries < 6


def test_a_rank_that_the_hub_never_answers_says_so_when_time_is_over(
    tmp_path: Path,
) -> None:
    outcome, tries = found_at_a_hub_that_takes(60, tmp_path, 0.3)
    assert tries == 1
    assert isinstance(outcome, find_hub.Broken)
    assert isinstance(outcome.error, AssemblyError)
    assert "does not answer" in str(outcome.error)
