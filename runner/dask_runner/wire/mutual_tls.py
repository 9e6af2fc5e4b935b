"""Connections with the hub: TLS 1.3, with the cluster's certificate at both ends.

Both ends hold the certificate and its key, and accept no other proof: a process that
holds the key belongs to the cluster, whatever its host is called. A stranger learns
only that something listens.

asyncio has imported :mod:`ssl` anyway, for 4 ms; a handshake takes a leader 3 ms. A
follower does neither.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from asyncio.sslproto import SSLProtocol
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_runner.meeting.tls import in_memory
from dask_runner.wire.asyncio_tls import CleanSSLObject
from dask_runner.wire.channel import Channel
from dask_runner.wire.message import Message, ProtocolError

if TYPE_CHECKING:
    from dask_runner.meeting.record import Record

#: Seconds for a handshake; a port scanner does not keep a connection longer.
HANDSHAKE_SECONDS = 10.0
#: Seconds to wait for the other end's part in closing a connection. What was said has
#: left by then.
FAREWELL_SECONDS = 1.0
#: Bytes that asyncio keeps ready for each connection, of which there is one a node and
#: one a stranger. It would take 256 KiB; a record of TLS has 16.
BUFFER = 1 << 14

SSLProtocol.max_size = BUFFER


@dataclass(frozen=True)
class Welcome(Message):
    """The hub has taken the node's proof: its first message."""


class StrangerError(Exception):
    """The other side is not of this cluster, or no dask-runner at all."""


def context(certificate: str, key: str, *, server: bool) -> ssl.SSLContext:
    """Return what one end proves itself with, and expects of the other.

    Parameters
    ----------
    certificate, key : str
        The cluster's, in PEM.
    server : bool
        Whether it is the hub's.
    """
    made = ssl.SSLContext(
        ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT
    )
    made.sslobject_class = CleanSSLObject
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.check_hostname = False  # the certificate is the cluster's, and no host's
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_verify_locations(cadata=certificate)
    with in_memory(certificate) as certificate_file, in_memory(key) as key_file:
        made.load_cert_chain(certificate_file, key_file)
    if server:
        made.num_tickets = 0  # nobody comes back to a session
    return made


async def accept(sock: socket.socket, own: ssl.SSLContext) -> Channel:
    """Answer a connection, at the hub.

    Raises
    ------
    StrangerError
        If the proof is wrong, missing or late.
    """
    try:
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            await _spoken_to(sock)
            channel = await _secured(sock, own, server=True)
    except ssl.SSLError as error:
        raise StrangerError(f"a wrong proof ({_reason(error)})") from error
    except OSError as error:  # TimeoutError is one
        raise StrangerError("no proof came") from error
    # Else a node would not know whether its own proof was taken.
    channel.send(Welcome())
    return channel


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
    own = context(record.certificate, record.private_key, server=False)
    sock = await _connected(record.host, record.port, seconds)
    try:
        # What listens is a hub that is busy, more likely than anything else.
        async with asyncio.timeout(max(seconds, HANDSHAKE_SECONDS)):
            channel = await _secured(sock, own, server=False)
            await _welcomed(channel)
    except ssl.SSLError as error:
        raise StrangerError(f"no hub of this cluster ({_reason(error)})") from error
    return channel


async def _connected(host: str, port: int, seconds: float) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        async with asyncio.timeout(seconds):
            await asyncio.get_running_loop().sock_connect(sock, (host, port))
    except BaseException:
        sock.close()
        raise
    return sock


async def _spoken_to(sock: socket.socket) -> None:
    """Wait for the first byte: who says nothing is not worth the memory of TLS."""
    loop = asyncio.get_running_loop()
    spoken = asyncio.Event()
    loop.add_reader(sock, spoken.set)
    try:
        await spoken.wait()
    except BaseException:
        loop.remove_reader(sock)
        sock.close()
        raise
    loop.remove_reader(sock)


async def _secured(
    sock: socket.socket, own: ssl.SSLContext, *, server: bool
) -> Channel:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    loop = asyncio.get_running_loop()
    plain, _ = await loop.connect_accepted_socket(asyncio.Protocol, sock)
    # Nothing has been read yet: that is not before the loop's next turn.
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport = await loop.start_tls(
        plain, protocol, own, server_side=server, ssl_shutdown_timeout=FAREWELL_SECONDS
    )
    if transport is None:
        raise ConnectionResetError("it closes after the handshake")
    protocol.connection_made(transport)
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    return Channel(reader, writer)


async def _welcomed(channel: Channel) -> None:
    try:
        welcome = await channel.receive()
    except BaseException as error:
        channel.abort()
        if isinstance(error, ProtocolError):
            raise StrangerError(str(error)) from error
        raise
    if not isinstance(welcome, Welcome):
        channel.abort()
        raise StrangerError("the hub does not let this node in")


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or type(error).__name__).lower().replace("_", " ")
