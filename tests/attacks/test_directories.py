"""Directories that somebody else can rename in, and what is laid there in our name."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dask_runner.meeting import tls
from dask_runner.resources.machine import take
from tests.attacks.stranger import STRANGER, attack, attacking

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import DaskRunner
    from tests.running import Run

#: Takes away each directory that is made in the first argument, lays another there,
#: with keys of its own, and tells it.
SWAP = """
place, certificate, key = sys.argv[1:]

def lay(path):
    os.mkdir(path, 0o777)
    os.mkdir(path + "/tls")
    for name, text in (("certificate.pem", certificate), ("key.pem", key)):
        with open(path + "/tls/" + name, "w") as file:
            file.write(text)

print("ready", flush=True)
while True:
    for name in os.listdir(place):
        path = place + "/" + name
        try:
            if name[0] != "." and os.stat(path).st_uid != os.getuid():
                # Not elsewhere: its ".." is not ours to change.
                os.rename(path, place + "/." + name)
                lay(path)
                print("took", name, flush=True)
        except FileNotFoundError:
            pass
    time.sleep(0.001)
"""

#: Shows a key of its own at all ports of this machine; tells those that speak to it.
KNOCK = """
certificate, key, numbers = sys.argv[1:]
files = []
for text in (certificate, key):
    file = os.memfd_create("mine")
    os.write(file, text.encode())
    files.append("/proc/self/fd/%d" % file)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.load_cert_chain(*files)
def knock(number):
    try:
        with socket.create_connection(("127.0.0.1", number), timeout=5) as plain:
            with context.wrap_socket(plain) as sock:
                if sock.recv(1):
                    print(number, flush=True)
    except OSError:
        pass

for number in map(int, numbers.split(",")):
    subprocess.threading.Thread(target=knock, args=(number,)).start()
"""

#: Says that it is up, and goes on until a file is there.
HOLD = """\
import sys, time
from pathlib import Path
from distributed import Client
with Client() as client:
    print("sum", client.submit(sum, [1, 2]).result(), flush=True)
    while not Path(sys.argv[1]).exists():
        time.sleep(0.05)
    print("sum", client.submit(sum, [3, 4]).result(), flush=True)
"""

OWN = tls.material()


@pytest.fixture
def theirs() -> Iterator[Path]:
    """Return a directory of the stranger's, in which all may write."""
    directory = Path(tempfile.mkdtemp(prefix="stranger-"))
    directory.chmod(0o777)
    os.chown(directory, STRANGER, STRANGER)
    yield directory
    shutil.rmtree(directory)


def ports(run: Run) -> list[int]:
    """Return the TCP ports at which processes of a run listen."""
    inodes = set()
    for pid in run.pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            target = str(link.readlink())
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    rows = [
        row.split()
        for table in ("tcp", "tcp6")
        for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    listening = "0A"
    return sorted(
        {
            int(row[1].rpartition(":")[2], 16)
            for row in rows
            if row[3] == listening and row[9] in inodes
        }
    )


def knock(run: Run, material: tuple[str, str]) -> str:
    """Return the ports of a run that speak to a stranger with a key."""
    tried = attack(KNOCK, *material, ",".join(map(str, ports(run))))
    assert not tried.returncode, tried.stderr
    return tried.stdout


@contextmanager
def held(dask_runner: DaskRunner, *args: str, **how: object) -> Iterator[Run]:
    """Run a cluster for as long as the body runs, and see it end well."""
    with tempfile.TemporaryDirectory(prefix="flag-") as flag:
        script = Path(flag) / "hold.py"
        script.write_text(HOLD)
        run = dask_runner.start(*args, script, f"{flag}/go", **how)
        run.wait_for("sum 3")
        yield run
        Path(flag, "go").touch()
        ended = run.wait()
        assert (ended.status, ended.stdout) == (0, "sum 3\nsum 7\n"), ended


@pytest.mark.attack(
    "owns the scratch directory, renames the job's directory in it and puts "
    "keys of their own there",
    "nothing: our processes hold the right directory open, and no longer look "
    "at that name",
)
def test_a_directory_that_is_taken_away_is_no_loss(
    dask_runner: DaskRunner, theirs: Path
) -> None:
    with attacking(SWAP, theirs, *OWN) as stranger:
        asked = ("--local-directory", str(theirs))
        with held(dask_runner, "-n", "2", *asked) as run:
            assert not knock(run, OWN)
            assert "other accounts may rename" in run.stderr
        stranger.kill()
        assert stranger.stdout is not None
        done = stranger.stdout.read()
    # It did what it wanted to do, and it was of no use.
    assert "took dask-runner-" in done
    assert not [path for taken in theirs.glob(".dask-*") for path in taken.iterdir()]


@pytest.mark.attack(
    "owns the directory for temporary files, and waits for ours",
    "nothing: we use another directory, in which nobody else can rename",
)
def test_a_temporary_directory_of_theirs_is_passed_over(
    dask_runner: DaskRunner, theirs: Path
) -> None:
    with attacking(SWAP, theirs, *OWN) as stranger:
        with held(dask_runner, "-n", "2", env={"TMPDIR": str(theirs)}) as run:
            assert not knock(run, OWN)
        stranger.kill()
        assert stranger.stdout is not None
        # Python tries whether it can write there, under another name.
        assert "dask-runner" not in stranger.stdout.read()


@pytest.mark.parametrize("mode", [0o755, 0o777, 0o1777], ids=oct)
@pytest.mark.attack(
    "creates our scratch directory before we do",
    "nothing: the directory belongs to them, so we do not use it",
)
def test_scratch_that_somebody_else_has_made_is_no_candidate(mode: int) -> None:
    # As below a /scratch in which all may write, for a user who has none there yet.
    made = Path("/tmp") / f"scratch-{secrets.token_hex(8)}"
    code = "os.mkdir(sys.argv[1]); os.chmod(sys.argv[1], int(sys.argv[2]))"
    done = attack(code, made, mode)
    assert not done.returncode, done.stderr
    try:
        found = take({"TMPDIR": str(made)}).directories[0]
    finally:
        made.rmdir()
    assert found.problem == f"is open to others: {made} belongs to uid {STRANGER}"
