"""Unix sockets between Dask's processes of a node, whose users the kernel vouches for.

What listens at ``tls://HOST:PORT`` listens at an abstract socket of that name as well,
in which a digest of the cluster's certificate is: a port that was one cluster's may be
another's of the same user, who would not be refused here as TLS refuses it. A process
that connects tries the socket first. It exists in the same network namespace alone,
and each side asks the kernel for the user of the other (``SO_PEERCRED``): another
account, or one that this user namespace does not know, is nobody to talk to. Then, and
where no such socket is, the two use TLS.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

from distributed.comm import parse_host_port, tcp, unparse_host_port
from tornado.iostream import IOStream, StreamClosedError
from tornado.netutil import add_accept_handler

from dask_runner import linux
from dask_runner.node.follower import has_own_user
from dask_runner.programs.comm import gil

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import ReadableBuffer, WriteableBuffer

#: What an abstract name begins with; the number is raised when what is said changes.
_PREFIX = "\0dask-runner/2/"
#: Said by the side that listens, when it knows that the other is of its user.
WELCOME = b"+"
#: In a socket, if the kernel lets a user have so much (``net.core.wmem_max``). With
#: less the two sides take more turns; more does not stay in the caches, and is slower
#: at times. (128 MB between two processes: 4.4 GB/s with 512 KiB, 5.2 with this, 3.2 to
#: 5.5 with 4 MiB; TCP 1.8 to 4.4.)
_BUFFER_BYTES = 1 << 20


class _Socket(socket.socket):
    """A Unix socket as Dask's streams use one.

    They may set the options that they set for TCP.
    """

    def recv_into(
        self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0
    ) -> int:
        with gil.soon(memoryview(buffer).nbytes):
            return super().recv_into(buffer, nbytes, flags)

    def send(self, data: ReadableBuffer, flags: int = 0) -> int:
        with gil.soon(memoryview(data).nbytes):
            return super().send(data, flags)

    def setsockopt(self, level: int, *options: Any) -> None:
        if level != socket.SOL_TCP:
            super().setsockopt(level, *options)


def trusted(sock: socket.socket) -> bool:
    """Return whether the process at the other end is of this process's user."""
    _, user = linux.peer(sock)
    return user == os.geteuid() and has_own_user()


def listen(
    address: str, cluster: str, serve: Callable[[IOStream], object]
) -> Callable[[], None]:
    """Listen at the name of an address, and serve what connects.

    Where somebody has taken the name, nothing listens.

    Parameters
    ----------
    address : str
        ``HOST:PORT``.
    cluster : str
        A digest of what its processes trust; nothing listens without one.
    serve : callable

    Returns
    -------
    callable
        Ends it.
    """
    if not cluster:
        return _nothing
    sock = socket.socket(socket.AF_UNIX)
    sock.setblocking(False)
    try:
        sock.bind(name_of(address, cluster))
        sock.listen(socket.SOMAXCONN)
    except OSError:
        sock.close()
        return _nothing

    def accept(found: socket.socket, _: object) -> None:
        if trusted(found):
            stream = _stream(found)
            stream.write(WELCOME)
            serve(stream)
        else:
            found.close()

    stop_accepting = add_accept_handler(sock, accept)

    def stop() -> None:
        stop_accepting()
        sock.close()

    return stop


def connect(address: str, cluster: str) -> IOStream | None:
    """Connect to what listens at the name of an address; None if it is not ours.

    The stream is in use once :func:`welcomed` says so.
    """
    if not cluster:
        return None
    sock = socket.socket(socket.AF_UNIX)
    try:
        # One whose queue is full, perhaps of strangers, is not waited for.
        sock.setblocking(False)
        sock.connect(name_of(address, cluster))
        friend = trusted(sock)
    except OSError:
        friend = False
    if not friend:
        sock.close()
        return None
    return _stream(sock)


async def welcomed(stream: IOStream) -> bool:
    """Return whether the side that listens knows this user."""
    try:
        await stream.read_bytes(len(WELCOME))
    except StreamClosedError:
        return False
    except BaseException:
        stream.close()
        raise
    return True


def nameless(address: str) -> str:
    """Return an address of the same host, for a process that listens nowhere."""
    host, _ = parse_host_port(address)
    return str(unparse_host_port(host, 0))


def name_of(address: str, cluster: str) -> str:
    """Return the name of the socket of an address, in a cluster."""
    return f"{_PREFIX}{cluster}/{unparse_host_port(*parse_host_port(address))}"


def _stream(sock: socket.socket) -> IOStream:
    found = _Socket(sock.family, sock.type, sock.proto, fileno=sock.detach())
    found.setblocking(False)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
    return IOStream(found, max_buffer_size=tcp.MAX_BUFFER_SIZE)


def _nothing() -> None:
    """Do nothing: nothing listens."""
