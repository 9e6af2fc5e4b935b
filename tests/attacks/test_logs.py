"""What somebody else can have us write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dask_runner.programs.log import LARGEST_LOG
from tests.attacks.stranger import attack

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import DaskRunner

#: Spoils handshakes at a port, each of which is a line in a log, and tells how many.
SPOIL = """
port, number = map(int, sys.argv[1:])
for _ in range(number):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        sock.sendall(b"GET / HTTP/1.1\\r\\n\\r\\n")
        try:
            while sock.recv(1024):
                pass
        except ConnectionResetError:
            pass
print(number)
"""

#: A line has more than 128 bytes.
ENOUGH = LARGEST_LOG // 128

CODE = """\
import sys, time
from pathlib import Path
from distributed import Client
with Client() as client:
    print("open:", client.scheduler.address.rpartition(":")[2], flush=True)
    while not Path(sys.argv[1]).exists():
        time.sleep(0.05)
    print("sum", client.submit(sum, [1, 2]).result())
"""


@pytest.mark.attack(
    "breaks off handshakes at Dask's ports for hours, each of which Dask logs",
    "a log of at most 1 MB, whose oldest lines are dropped; your disk does not fill",
)
def test_spoiled_handshakes_do_not_fill_the_disk(
    dask_runner: DaskRunner, tmp_path: Path
) -> None:
    run = dask_runner.start("-c", CODE, tmp_path / "go")
    run.wait_for("open:")
    tried = attack(SPOIL, run.stdout.split()[1], ENOUGH, timeout=300)
    assert tried.stdout == f"{ENOUGH}\n", tried.stderr
    (log,) = run.tmp.glob("dask-runner-*/scheduler.log")
    # They were told of, and are no more than one line over.
    assert "handshake failed" in log.read_text()
    assert log.stat().st_size < LARGEST_LOG + 1024
    (tmp_path / "go").touch()
    ended = run.wait()
    assert (ended.status, ended.stdout.splitlines()[-1]) == (0, "sum 3"), ended
