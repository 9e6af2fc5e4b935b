"""Who comes to a port by mistake or by malice: each does its worst, and leaves."""

import contextlib
import os
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator

from dask_runner.hub import messages as m
from dask_runner.meeting import tls
from dask_runner.wire import mutual_tls
from dask_runner.wire.message import encode

PATIENCE = 20.0

# Opens so many connections at once, says so, and keeps them until its stdin ends.
FLOOD = """
import resource, socket, sys
host, port, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
held = [socket.socket() for _ in range(number)]
for one in held:
    one.setblocking(False)
    one.connect_ex((host, port))
print("flooded", flush=True)
sys.stdin.read()
"""


def scan(sock: socket.socket) -> None:
    """Leave at once."""


def reset(sock: socket.socket) -> None:
    """Leave by a reset, as nmap does."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def garbage(sock: socket.socket) -> None:
    """Send what is nothing."""
    sock.sendall(os.urandom(4096))


def browser(sock: socket.socket) -> None:
    """Take it for a web server."""
    sock.sendall(b"GET / HTTP/1.1\r\nHost: node\r\nAccept: */*\r\n\r\n" * 3)


def half(sock: socket.socket) -> None:
    """Begin a handshake, and never end it."""
    sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(32))
    sock.shutdown(socket.SHUT_WR)


def plain(sock: socket.socket) -> None:
    """Say what a node says, without TLS."""
    payload = encode(m.NodeHello("c1"))
    sock.sendall(struct.pack(">I", len(payload)) + payload)
    sock.shutdown(socket.SHUT_WR)


def other_key(sock: socket.socket) -> None:
    """Do all as it must be, with the key of another cluster."""
    own = mutual_tls.context(*tls.material(), server=False)
    own.verify_mode = ssl.CERT_NONE
    with contextlib.suppress(ssl.SSLError):
        _say_hello(own, sock)


def no_key(sock: socket.socket) -> None:
    """Do all as it must be, without a key."""
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    own.check_hostname = False
    own.verify_mode = ssl.CERT_NONE
    with contextlib.suppress(ssl.SSLError):
        _say_hello(own, sock)


def _say_hello(own: ssl.SSLContext, sock: socket.socket) -> None:
    with own.wrap_socket(sock.dup()) as secured:
        payload = encode(m.NodeHello("c1"))
        secured.sendall(struct.pack(">I", len(payload)) + payload)
        assert not secured.recv(1)


def gigabyte(sock: socket.socket) -> None:
    """Send a message of 1 GiB, for as long as anyone takes it."""
    piece = bytes(1 << 20)
    for _ in range(1 << 10):
        sock.sendall(piece)


KINDS: tuple[Callable[[socket.socket], None], ...] = (
    scan,
    reset,
    garbage,
    browser,
    half,
    plain,
    other_key,
    no_key,
    gigabyte,
)


def visit(behave: Callable[[socket.socket], None], host: str, port: int) -> bytes:
    """Let one stranger come; return all that it is told, until it is sent away."""
    told = b""
    with socket.create_connection((host, port), timeout=PATIENCE) as sock:
        # Sent away in the middle of what it sends.
        with contextlib.suppress(ConnectionError):
            behave(sock)
        if behave in (scan, reset):
            return told
        with contextlib.suppress(ConnectionError):
            while piece := sock.recv(4096):
                told += piece
    return told


@contextlib.contextmanager
def flood(host: str, port: int, number: int) -> Iterator[None]:
    """Hold so many connections open, from a process of their own."""
    with subprocess.Popen(
        [sys.executable, "-c", FLOOD, host, str(port), str(number)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"flooded\n"
        yield
        process.stdin.close()
