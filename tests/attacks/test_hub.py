"""Somebody without the cluster's key speaks to its hub."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from dask_runner.meeting import tls
from tests.attacks.stranger import attack, attacking
from tests.programs import BEGIN, UNTIL_TOLD, script
from tests.running import DASK_RUNNER, Run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Speaks to the hub at a port, with a certificate and a key, and prints what it is
#: told beside the alerts of TLS.
SPEAK = """
host, port, way, certificate, key = sys.argv[1:]
hello = b'["NodeHello", {"name": "c1"}]'
join = b'["Hello", {"rank": 1, "local_rank": 0, "local_size": 1, "leads": false, '
join += b'"cpus": "", "asks": false, "mpi": ""}]'
words = b"".join(struct.pack(">I", len(one)) + one for one in (hello, join))

def file(text):
    held = os.memfd_create("held")
    os.write(held, text.encode())
    return "/proc/self/fd/%d" % held

def secured(sock):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if way == "another cluster's key":
        context.load_cert_chain(file(certificate), file(key))
    if way == "an older TLS":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context.wrap_socket(sock)

told = b""
with socket.create_connection((host, int(port)), timeout=30) as sock:
    try:
        if way == "half a handshake":
            # A ClientHello, whose length says that there is more.
            sock.sendall(b"\\x16\\x03\\x01\\x02\\x00\\x01\\x00\\x01\\xfc" + bytes(34))
        elif way == "no TLS":
            sock.sendall(words)
        else:
            sock = secured(sock)
            sock.sendall(words)
        while piece := sock.recv(4096):
            told += piece
    except OSError:
        pass
if told[:2] == b"\\x15\\x03":
    told = b""
print(told)
"""

#: Holds so many connections.
FLOOD = """
import resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
held = [socket.socket() for _ in range(5000)]
for one in held:
    one.setblocking(False)
    one.connect_ex((sys.argv[1], int(sys.argv[2])))
print("flooded", flush=True)
time.sleep(600)
"""


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Run]:
    """A cluster of two ranks that goes on until there is a file, and ends well."""
    code = script(tmp_path, BEGIN + UNTIL_TOLD)
    with Run((str(DASK_RUNNER), "-n", "2", str(code))) as run:
        run.wait_for("begun")
        yield run
        (run.cwd / "go").touch()
        ended = run.wait(makes=("go",))
        assert ended.status == 0, ended
        assert ended.stderr.count("refused a connection") <= 1, ended


def place(run: Run) -> tuple[str, int]:
    """Return where its hub is, which a stranger has to guess."""
    (path,) = run.tmp.glob("dask-runner-local-*/*.json")
    record = json.loads(path.read_text())["runner"]
    return record["host"], record["port"]


@pytest.mark.attack(
    "speaks to the hub as a rank would: without TLS, without a key, with the key of a "
    "cluster of their own, by an older TLS, or with half a handshake",
    "no answer; the job goes on, and its user reads of it once",
)
@pytest.mark.parametrize(
    "way",
    ["no TLS", "no key", "another cluster's key", "an older TLS", "half a handshake"],
)
def test_the_hub_answers_nobody_without_the_key(held: Run, way: str) -> None:
    done = attack(SPEAK, *place(held), way, *tls.material())

    assert done.stdout == "b''\n", done


@pytest.mark.attack(
    "holds thousands of connections to the hub while ranks come and go",
    "nothing: the longest wait is turned away first, and the job goes on",
)
def test_a_flood_at_the_hub_stops_nothing(held: Run) -> None:
    with attacking(FLOOD, *place(held)):
        (held.cwd / "go").touch()
        ended = held.wait(makes=("go",))

    assert ended.status == 0, ended
