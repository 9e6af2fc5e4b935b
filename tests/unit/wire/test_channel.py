"""Frames: garbled, cut, or too long."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_runner.hub import messages as m
from dask_runner.wire.channel import LIMIT, BlockingChannel, Channel, open_channel
from dask_runner.wire.message import Message, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable


class Wire:
    """The bytes that a sender writes, one item a frame."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.frames.append(data)

    def is_closing(self) -> bool:
        return False


def sent(*messages: Message) -> list[bytes]:
    """Return the frames of these messages."""
    wire = Wire()
    sender = Channel(None, wire)  # type: ignore[arg-type]
    for message in messages:
        sender.send(message)
    return wire.frames


def received(*data: bytes, frames: int | None = None) -> list[Message | None]:
    """Return what a receiver makes of these bytes, then the end of the stream."""

    async def receive() -> list[Message | None]:
        reader = asyncio.StreamReader()
        reader.feed_data(b"".join(data))
        reader.feed_eof()
        channel = Channel(reader, None)  # type: ignore[arg-type]
        return [await channel.receive() for _ in range(frames or len(data))]

    return asyncio.run(receive())


NOTES = [m.Note("one"), m.Note("two"), m.Note("three")]


def test_frames_arrive_in_order() -> None:
    assert received(*sent(*NOTES)) == NOTES


def test_messages_that_are_sent_together_are_one_write() -> None:
    wire = Wire()
    Channel(None, wire).send(*NOTES)  # type: ignore[arg-type]
    assert len(wire.frames) == 1
    assert received(*wire.frames, frames=3) == NOTES


def test_the_end_of_the_stream_is_none() -> None:
    assert received(b"") == [None]


def test_a_frame_that_is_cut_is_the_end_and_no_message() -> None:
    (frame,) = sent(m.Note("one"))
    for end in range(len(frame)):
        assert received(frame[:end]) == [None]


def test_a_frame_longer_than_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(ProtocolError, match=str(LIMIT + 1)):
        received(struct.pack(">I", LIMIT + 1))


@given(st.binary(max_size=200))
def test_garbage_is_the_end_or_refused_and_never_a_message(data: bytes) -> None:
    try:
        assert received(data) == [None]
    except ProtocolError:
        return


def over_a_socket_pair(
    talk: Callable[[BlockingChannel, socket.socket], None],
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        talk(BlockingChannel(ours), theirs)


def test_a_blocking_channel_speaks_to_an_asynchronous_one() -> None:
    async def answer(sock: socket.socket) -> Message | None:
        sock.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=sock)
        channel = Channel(reader, writer)
        heard = await channel.receive()
        channel.send(m.Note("heard"))
        await channel.closed()
        return heard

    def talk(channel: BlockingChannel, theirs: socket.socket) -> None:
        big = m.Note("x" * (LIMIT // 2))
        # A socket pair holds some 200 kB: the other end must read meanwhile.
        import threading  # noqa: PLC0415

        heard: list[Message | None] = []
        copy = theirs.dup()
        thread = threading.Thread(
            target=lambda: heard.append(asyncio.run(answer(copy)))
        )
        thread.start()
        channel.send(big)
        assert channel.receive() == m.Note("heard")
        thread.join(10)
        assert heard == [big]

    over_a_socket_pair(talk)


def test_a_blocking_channel_tells_the_end_of_the_stream() -> None:
    def talk(channel: BlockingChannel, theirs: socket.socket) -> None:
        theirs.sendall(b"\0\0\0\x10half")
        theirs.close()
        assert channel.receive() is None
        assert channel.receive() is None
        channel.send(m.Ping())  # to nobody: that is no error

    over_a_socket_pair(talk)


def test_a_blocking_channel_refuses_what_is_longer_than_the_limit() -> None:
    def talk(channel: BlockingChannel, theirs: socket.socket) -> None:
        theirs.sendall(b"\xff\xff\xff\xff")
        with pytest.raises(ProtocolError):
            channel.receive()

    over_a_socket_pair(talk)


def test_a_message_to_a_peer_that_is_gone_is_no_error() -> None:
    async def talk() -> None:
        ours, theirs = socket.socketpair()
        theirs.close()
        ours.setblocking(False)
        channel = Channel(*await asyncio.open_connection(sock=ours))
        for _ in range(3):
            channel.send(m.Ping())
            await asyncio.sleep(0)
        assert await channel.receive() is None
        await channel.closed()
        channel.send(m.Ping())

    asyncio.run(talk())


def test_a_peer_that_ended_is_heard_out_whoever_else_holds_its_end() -> None:
    async def listen() -> list[object]:
        ours, theirs = socket.socketpair()
        channel = await open_channel(ours)
        with theirs:  # to the end: as a fork of the peer would
            for note in NOTES:
                BlockingChannel(theirs).send(note)
            channel.hear_out()
            async with asyncio.timeout(5):
                heard = [await channel.receive() for _ in (*NOTES, None)]
            await channel.closed()
            channel.hear_out()
            return heard

    assert asyncio.run(listen()) == [*NOTES, None]
