"""How a rank reaches the hub that a record names."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

from dask_runner.errors import AssemblyError
from dask_runner.hub import handshake
from dask_runner.meeting.by_file import FileMeeting
from dask_runner.node import find_hub
from tests.unit.records import KEY, RECORD, published

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

LOOPBACK = "127.0.0.1"
SECRET = bytes.fromhex(RECORD.secret)


def found_at_a_hub_that_takes(
    seconds: float, directory: Path, patience: float
) -> tuple[find_hub.Linked | find_hub.Broken, int]:
    """Look for a hub that greets so late; return what came of it, after how many."""
    path = directory / "record.json"
    listener = socket.create_server((LOOPBACK, 0))
    published(path, replace(RECORD, port=listener.getsockname()[1]))
    guests: list[asyncio.Task[None]] = []

    async def greet_late(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        guests.append(asyncio.current_task())  # type: ignore[arg-type]
        try:
            await asyncio.sleep(seconds)
            with contextlib.suppress(handshake.StrangerError):  # it has given up
                await handshake.accept(reader, writer, SECRET)
        finally:
            writer.close()

    async def play() -> find_hub.Linked | find_hub.Broken:
        server = await asyncio.start_server(greet_late, sock=listener)
        async with server:
            meeting = FileMeeting([path], KEY)
            outcome = await find_hub.find(1, "c1", meeting, patience)
            if isinstance(outcome, find_hub.Linked):
                await outcome.channel.closed()
            for guest in guests:
                guest.cancel()
            await asyncio.gather(*guests, return_exceptions=True)
        return outcome

    return asyncio.run(play()), len(guests)


def test_a_rank_waits_longer_each_time_for_a_hub_that_is_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find_hub, "FIRST_ATTEMPT", 0.1)
    monkeypatch.setattr(handshake, "HANDSHAKE", 0.1)
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
