"""Messages over a stream socket: TLS, or a pair that only our own processes hold.

A frame is its length (4 bytes, big endian) and a payload.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING

from dask_runner.wire.message import ProtocolError, decode, encode

if TYPE_CHECKING:
    from dask_runner.wire.message import Message

#: Longest payload in bytes; a longer frame is garbage, not a message of ours. The
#: longest that we send has a program's arguments, 2 MiB by the kernel's limit.
LIMIT = 1 << 23
HEAD = struct.Struct(">I")


class Channel:
    """Messages over a pair of asyncio streams.

    Parameters
    ----------
    reader, writer : asyncio streams
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, *messages: Message) -> None:
        """Queue messages; that the peer is gone is noticed by `receive`."""
        if self._writer.is_closing():
            return
        frames: list[bytes] = []
        for payload in map(encode, messages):
            frames += HEAD.pack(len(payload)), payload
        self._writer.write(b"".join(frames))

    async def receive(self) -> Message | None:
        """Wait for the next message; None at the end of the stream.

        Raises
        ------
        ProtocolError
            If what arrives is garbage, or too long.
        """
        try:
            (length,) = HEAD.unpack(await self._reader.readexactly(HEAD.size))
            if length > LIMIT:
                raise ProtocolError(f"a frame of {length} bytes (limit {LIMIT})")
            payload = await self._reader.readexactly(length)
        except asyncio.IncompleteReadError:
            return None
        except OSError:
            # asyncio keeps the error for a wait for the stream's end as well, and
            # complains on stderr without one.
            await self.closed()
            return None
        return decode(payload)

    async def drained(self) -> None:
        """Wait while the peer is slow to take what was sent."""
        try:
            await self._writer.drain()
        except OSError:
            return  # it is gone, which `receive` notices

    async def send_bytes(self, data: bytes) -> None:
        """Send plain bytes, after the last message; wait while the peer is slow.

        Raises
        ------
        OSError
            If the peer is gone.
        """
        self._writer.write(data)
        await self._writer.drain()

    async def receive_bytes(self, most: int) -> bytes:
        """Wait for plain bytes, after the last message; none at the stream's end."""
        try:
            return await self._reader.read(most)
        except OSError:
            await self.closed()  # as in `receive`
            return b""

    def hear_out(self) -> None:
        """Receive what has arrived and then the end, even if the peer stays open."""
        if not self._writer.is_closing():
            self._writer.get_extra_info("socket").shutdown(socket.SHUT_RD)

    def close(self) -> None:
        """Close both directions."""
        self._writer.close()

    def abort(self) -> None:
        """Close at once, also where the peer takes nothing more of what was sent."""
        self._writer.transport.abort()

    async def closed(self) -> None:
        """Close, and wait until what was sent has left or the peer is gone."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            return

    @property
    def local_host(self) -> str:
        """The address of this end."""
        return str(self._writer.get_extra_info("sockname")[0])


class BlockingChannel:
    """The same for processes without an event loop, over a socket pair."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def send(self, message: Message) -> None:
        """Send a message; nothing happens if the peer is gone."""
        payload = encode(message)
        try:
            self._sock.sendall(HEAD.pack(len(payload)) + payload)
        except OSError:
            return

    def receive(self) -> Message | None:
        """Wait for the next message; None at the end of the stream."""
        head = self._exactly(HEAD.size)
        if not head:
            return None
        (length,) = HEAD.unpack(head)
        if length > LIMIT:
            raise ProtocolError(f"a frame of {length} bytes (limit {LIMIT})")
        payload = self._exactly(length)
        return decode(payload) if payload else None

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                piece = self._sock.recv(size - len(data))
            except OSError:
                return b""
            if not piece:
                return b""
            data += piece
        return data

    def close(self) -> None:
        """Close both directions."""
        self._sock.close()


async def open_channel(sock: socket.socket) -> Channel:
    """Wrap a connected socket (a socket pair's end) for asyncio."""
    sock.setblocking(False)
    return Channel(*await asyncio.open_connection(sock=sock))
