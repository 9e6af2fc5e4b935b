"""Bad neighbours at the hub's port, over real connections."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import struct
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dask_runner.hub import listener as door_module
from dask_runner.hub import messages as m
from dask_runner.hub.listener import Door
from dask_runner.meeting import tls
from dask_runner.meeting.record import Record
from dask_runner.wire import mutual_tls
from dask_runner.wire.channel import LIMIT
from dask_runner.wire.mutual_tls import Welcome
from tests import strangers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from dask_runner.wire.channel import Channel
    from dask_runner.wire.message import Message

LOOPBACK = "127.0.0.1"
MATERIAL = tls.material()
HUB = mutual_tls.context(*MATERIAL, server=True)
PATIENCE = 20.0
#: Bytes of the hub's part of a handshake, and a little more.
MOST_TOLD = 2000


class Entrance:
    """A door, who got in, and who did not."""

    def __init__(self) -> None:
        self.inside: list[Message | None] = []
        self.refused: list[str] = []
        self.door = Door(HUB, self._enter, self._refuse)
        self.port = 0

    async def _enter(self, channel: Channel, address: str) -> None:
        assert address == LOOPBACK
        self.inside.append(await channel.receive())
        channel.send(m.Ping())

    def _refuse(self, address: str, why: str) -> None:
        assert address == LOOPBACK
        self.refused.append(why)

    async def rank(self, seconds: float = PATIENCE) -> int:
        """Come in as a rank does, trying again; return the number of tries."""
        record = Record("k", "n", "c1", LOOPBACK, self.port, *MATERIAL)
        tries = 0
        async with asyncio.timeout(seconds):
            while True:
                tries += 1
                try:
                    channel = await mutual_tls.connect(record, PATIENCE)
                except (OSError, mutual_tls.StrangerError):
                    continue
                channel.send(m.NodeHello("c1"))
                assert await channel.receive() == m.Ping()
                await channel.closed()
                return tries

    async def until(self, reached: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not reached():  # noqa: ASYNC110  it tells nobody
                await asyncio.sleep(0.01)


@asynccontextmanager
async def opened() -> AsyncIterator[Entrance]:
    entrance = Entrance()
    entrance.port = await entrance.door.open(LOOPBACK)
    try:
        yield entrance
    finally:
        await entrance.door.shut()


def at_the_door(play: Callable[[Entrance], Awaitable[None]]) -> None:
    async def main() -> None:
        async with opened() as entrance:
            await play(entrance)

    asyncio.run(main())


def sockets() -> int:
    """Return how many sockets this process has open."""
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            count += str(entry.readlink()).startswith("socket:")
        except FileNotFoundError:  # the directory's own
            continue
    return count


@pytest.mark.parametrize("behave", strangers.KINDS)
def test_a_stranger_is_told_nothing_and_sent_away(
    behave: Callable[[socket.socket], None],
) -> None:
    async def play(entrance: Entrance) -> None:
        told = await asyncio.to_thread(strangers.visit, behave, LOOPBACK, entrance.port)
        # A complaint of TLS, and for one that speaks it the certificate, sealed.
        assert len(told) < MOST_TOLD
        await entrance.until(lambda: entrance.refused)
        assert await entrance.rank() == 1

    at_the_door(play)


def test_ranks_get_in_while_ten_thousand_strangers_hold_the_line() -> None:
    async def play(entrance: Entrance) -> None:
        before = sockets()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        flood = strangers.flood(LOOPBACK, entrance.port, 10_000)
        await asyncio.to_thread(flood.__enter__)
        most = 0
        try:
            # In the middle of it, and when all have come.
            for wanted in (1000, 6000):
                await entrance.until(lambda: len(entrance.refused) >= wanted)  # noqa: B023
                most = max(most, sockets() - before)
                await entrance.rank()
        finally:
            await asyncio.to_thread(flood.__exit__, None, None, None)
        assert most <= door_module.STRANGERS + 10
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
        # Of all at once it would be ten times as much.
        assert grown < 128 * 1024  # KiB

    at_the_door(play)


def test_who_floods_does_not_turn_others_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door_module, "STRANGERS", 4)

    def knock(source: str, port: int) -> socket.socket:
        return socket.create_connection((LOOPBACK, port), source_address=(source, 0))

    async def play() -> None:
        gone: list[str] = []

        async def enter(channel: Channel, address: str) -> None:
            del channel, address

        door = Door(HUB, enter, lambda address, _: gone.append(address))
        port = await door.open(LOOPBACK)
        first = knock("127.0.0.2", port)
        crowd = [knock("127.0.0.3", port) for _ in range(12)]
        async with asyncio.timeout(PATIENCE):
            while len(gone) < 9:  # noqa: ASYNC110  it tells nobody
                await asyncio.sleep(0.01)
        assert set(gone) == {"127.0.0.3"}
        for sock in (first, *crowd):
            sock.close()
        await door.shut()

    asyncio.run(play())


def test_ranks_get_in_again_after_files_were_short() -> None:
    async def play(entrance: Entrance) -> None:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        ours = [socket.socket() for _ in range(20)]
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, limits[1]))
        try:
            held = []
            try:
                while True:
                    held.append(socket.socket())
            except OSError:
                coming = held.pop()
            coming.setblocking(False)
            coming.connect_ex((LOOPBACK, entrance.port))
            await asyncio.sleep(3 * door_module.SHORT_OF_FILES_SECONDS)
            for one in (coming, *held, *ours):
                one.close()
            await entrance.rank()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    at_the_door(play)


def test_as_many_ranks_as_there_are_may_stand_before_the_door_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(door_module, "STRANGERS", 4)
    ranks = 40

    async def enter(channel: Channel, address: str) -> None:
        del address
        channel.close()

    async def play() -> None:
        refused: list[str] = []
        door = Door(HUB, enter, lambda _, why: refused.append(why), ranks)
        port = await door.open(LOOPBACK)
        loop = asyncio.get_running_loop()
        # All stand there before the first proves that it has the key.
        knocked = [socket.socket() for _ in range(ranks)]
        for sock in knocked:
            sock.setblocking(False)
            await loop.sock_connect(sock, (LOOPBACK, port))
        # Nobody else comes, so nobody has to go, however long they take.
        await asyncio.sleep(3 * door_module.GRACE_SECONDS)
        own = mutual_tls.context(*MATERIAL, server=False)
        for sock in knocked:
            channel = await mutual_tls._secured(sock, own, server=False)  # noqa: SLF001
            assert await channel.receive() == Welcome()
            await channel.closed()
        assert not refused
        await door.shut()

    asyncio.run(play())


def test_a_door_that_is_shut_keeps_nobody() -> None:
    async def play() -> None:
        before = sockets()
        async with opened() as entrance:
            knocked = [
                socket.create_connection((LOOPBACK, entrance.port)) for _ in range(5)
            ]
            await entrance.until(lambda: sockets() >= before + 11)
        for sock in knocked:
            sock.close()
        assert sockets() == before

    asyncio.run(play())


def test_a_door_that_is_shut_at_once_closes_what_it_has_just_taken() -> None:
    async def play(entrance: Entrance) -> None:
        knocked = [socket.create_connection((LOOPBACK, entrance.port)) for _ in "ab"]
        # Seen before the conversations have had their first turn.
        while not entrance.door._strangers:  # noqa: ASYNC110, SLF001
            await asyncio.sleep(0)
        await entrance.door.shut()
        for sock in knocked:
            sock.close()

    # What is not closed is a warning, and that an error.
    at_the_door(play)


@given(st.lists(st.binary(max_size=300), max_size=4))
@example([b"\x16\x03\x01", bytes(300)])
@example([b"", struct.pack(">I", LIMIT + 1)])
def test_whatever_a_stranger_sends_it_is_refused(pieces: list[bytes]) -> None:
    async def play(entrance: Entrance) -> None:
        _, writer = await asyncio.open_connection(LOOPBACK, entrance.port)
        for piece in pieces:
            writer.write(piece)
        writer.write_eof()
        await entrance.until(lambda: entrance.refused)
        writer.close()
        assert not entrance.inside

    at_the_door(play)
