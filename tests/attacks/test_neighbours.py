"""Another account at the sockets by which Dask's processes of a node talk."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
from typing import TYPE_CHECKING, Any

import pytest
from distributed.comm import CommClosedError, backends, connect, listen, tcp

from dask_runner.meeting import tls
from dask_runner.programs.comm import backend, node_socket, trust
from dask_runner.programs.dask_tls import as_security
from tests.attacks.stranger import attack, attacking

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 60.0
CERTIFICATE, KEY = tls.material()

#: Listens at a name, answers as a neighbour does, and prints what it is told.
SQUATTER = r"""
door = socket.socket(socket.AF_UNIX)
door.bind("\0" + sys.argv[1])
door.listen(4096)
print("ready", flush=True)
while True:
    guest, _ = door.accept()
    try:
        guest.send(b"+")
        said = guest.recv(1 << 16)
    except OSError:
        continue
    if said:
        print(said, flush=True)
"""

#: Connects again and again, says what a neighbour says, and never hangs up.
VISITOR = r"""
guests = []
print("ready", flush=True)
while True:
    guest = socket.socket(socket.AF_UNIX)
    guest.setblocking(False)
    try:
        guest.connect("\0" + sys.argv[1])
        guest.send(b"\0" * 4096)
    except OSError:
        time.sleep(0.001)
    else:
        guests.append(guest)
    del guests[:-500]
"""

#: Connects, and prints what it is told within a second.
READER = r"""
guest = socket.socket(socket.AF_UNIX)
guest.connect("\0" + sys.argv[1])
guest.settimeout(10)
try:
    print(guest.recv(1 << 16))
except ConnectionResetError:
    print(b"")
"""


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    """Leave Dask's own table to the other tests."""
    before = dict(backends)
    yield
    backends.update(before)


def play(port: int, visit: Any = None) -> type:
    """Send words to what listens at a port, and back; return the connection's class."""
    security: Any = as_security(CERTIFICATE, KEY)

    async def echo(comm: Any) -> None:
        with contextlib.suppress(CommClosedError):
            while True:
                await comm.write(await comm.read())

    async def talk() -> type:
        async with asyncio.timeout(SECONDS):
            keys = security.get_listen_args("worker")
            listener = await listen(f"tls://127.0.0.1:{port}", echo, **keys)
            keys = security.get_connection_args("client")
            if visit is not None:
                await asyncio.to_thread(visit)
            for _ in range(20):
                comm = await connect(listener.contact_address, **keys)
                await comm.write({"secret": 1})
                assert await comm.read() == {"secret": 1}
                await comm.close()
            listener.stop()
            return type(comm)

    return asyncio.run(talk())


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def name(port: int) -> str:
    keys = as_security(CERTIFICATE, KEY)
    cluster = trust.digest(keys.get_listen_args("worker")["ssl_context"])
    return node_socket.name_of(f"127.0.0.1:{port}", cluster).removeprefix("\0")


@pytest.mark.attack(
    "takes the name of the socket at which a Dask process would talk with those of its "
    "node, and answers in its place",
    "not a byte: the two talk over TLS",
)
def test_a_squatter_is_told_nothing() -> None:
    port = free_port()
    with attacking(SQUATTER, name(port)) as squatter:
        assert play(port) is tcp.TLS
        assert squatter.stdout is not None
        told, _, _ = select.select([squatter.stdout], [], [], 0)
        assert not told, squatter.stdout.readline()


@pytest.mark.attack(
    "connects to the socket at which a Dask process talks with those of its node",
    "not a byte",
)
def test_a_stranger_is_told_nothing() -> None:
    port = free_port()

    def visit() -> None:
        done = attack(READER, name(port))
        assert (done.returncode, done.stdout) == (0, "b''\n"), done

    assert play(port, visit) is backend.NodeComm


@pytest.mark.attack(
    "connects to that socket thousands of times",
    "no answer; the neighbours talk on, over TLS if it is full",
)
def test_a_crowd_does_not_keep_neighbours_away() -> None:
    port = free_port()
    with contextlib.ExitStack() as stack:

        def visit() -> None:
            stack.enter_context(attacking(VISITOR, name(port)))

        assert play(port, visit) in {backend.NodeComm, tcp.TLS}
