"""The handshake that turns a TCP connection into a sealed channel.

Both sides prove that they know the record's secret before either says anything
else. What a stranger can learn is that something listens.

::

    hub  → rank   greeting, nonce of the hub
    rank → hub    nonce of the rank, proof "rank"
    hub  → rank   proof "hub"
"""

from __future__ import annotations

import asyncio
import hmac
import os
import socket
from typing import TYPE_CHECKING

from dask_runner.hub.channel import SEAL, Channel, Seal

if TYPE_CHECKING:
    from dask_runner.meeting.record import Record

GREETING = b"dask-runner hub 1\n"
NONCE = 32
#: Seconds for a handshake; a port scanner does not keep a connection
#: longer.
HANDSHAKE = 10.0


class StrangerError(Exception):
    """The other side does not know the secret, or is no dask-runner at all."""


def _proof(secret: bytes, who: bytes, first: bytes, second: bytes) -> bytes:
    return hmac.digest(secret, who + first + second, "sha256")


async def accept(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, secret: bytes
) -> Channel:
    """Answer a connection, at the hub.

    Raises
    ------
    StrangerError
        If the proof is wrong, missing or late.
    """
    mine = os.urandom(NONCE)
    try:
        async with asyncio.timeout(HANDSHAKE):
            writer.write(GREETING + mine)
            theirs = await reader.readexactly(NONCE)
            proof = await reader.readexactly(SEAL)
    except (asyncio.IncompleteReadError, TimeoutError, OSError) as error:
        raise StrangerError("no proof came") from error
    if not hmac.compare_digest(proof, _proof(secret, b"rank", mine, theirs)):
        raise StrangerError("a wrong proof")
    writer.write(_proof(secret, b"hub", theirs, mine))
    key = _proof(secret, b"session", mine, theirs)
    _quicken(writer)
    return Channel(reader, writer, (Seal(key, b"hub"), Seal(key, b"rank")))


async def connect(record: Record, seconds: float) -> Channel:
    """Connect to the hub that a record names.

    Parameters
    ----------
    record : Record
    seconds : float
        For the connection; the handshake has as many, and at least as many as it has
        at the hub.

    Raises
    ------
    OSError
        If nothing answers (a stale record); TimeoutError if it does so too late.
    StrangerError
        If something else than the record's hub answers.
    """
    secret = bytes.fromhex(record.secret)
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_connection(record.host, record.port)
    try:
        # What listens is a hub that is busy, more likely than anything else.
        async with asyncio.timeout(max(seconds, HANDSHAKE)):
            key = await _shake_hands(reader, writer, secret)
    except BaseException as error:
        writer.close()
        if isinstance(error, asyncio.IncompleteReadError):
            raise StrangerError("what listens there is no hub") from error
        raise
    _quicken(writer)
    return Channel(reader, writer, (Seal(key, b"rank"), Seal(key, b"hub")))


async def _shake_hands(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, secret: bytes
) -> bytes:
    greeting = await reader.readexactly(len(GREETING))
    if greeting != GREETING:
        raise StrangerError(f"greeted by {greeting!r}")
    theirs = await reader.readexactly(NONCE)
    mine = os.urandom(NONCE)
    writer.write(mine + _proof(secret, b"rank", theirs, mine))
    proof = await reader.readexactly(SEAL)
    if not hmac.compare_digest(proof, _proof(secret, b"hub", mine, theirs)):
        raise StrangerError("the hub's proof is wrong")
    return _proof(secret, b"session", theirs, mine)


def _quicken(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
