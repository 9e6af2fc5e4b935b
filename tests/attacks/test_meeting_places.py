"""Where ranks are handed out: claims in a directory, and an address with a secret."""

from __future__ import annotations

import secrets
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dask_runner.meeting import tls
from dask_runner.meeting.claims import Claims
from dask_runner.meeting.record import Record
from tests.attacks.stranger import STRANGER, attack, attacking
from tests.running import DASK_RUNNER, Run
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "handed-out..lab"
CONFIG = 78

#: Lays what looks like the first claims of a launch, which would lead it astray.
LAY = """
for number in range(1, 4):
    path = "%s/%s.%d.first" % (sys.argv[1], sys.argv[2], number)
    with open(path, "w") as file:
        file.write(sys.argv[3])
    os.chmod(path, 0o666)
"""
#: Reads what comes into a directory.
READ = """
for name in os.listdir(sys.argv[1]):
    try:
        print(open(sys.argv[1] + "/" + name).read())
    except OSError as error:
        print(error.strerror)
"""
#: Listens at the address before the ranks do, with keys of its own.
SQUAT = """
certificate, key = os.memfd_create("certificate"), os.memfd_create("key")
os.write(certificate, sys.argv[2].encode())
os.write(key, sys.argv[3].encode())
own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
own.load_cert_chain("/proc/self/fd/%d" % certificate, "/proc/self/fd/%d" % key)
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listens", flush=True)
while True:
    visitor, _ = server.accept()
    try:
        secured = own.wrap_socket(visitor, server_side=True)
        print("told: %r" % secured.recv(4096), flush=True)
    except (ssl.SSLError, OSError):
        print("told nothing", flush=True)
"""
#: Comes to the address with keys of its own, and takes what it is told.
COME = """
certificate, key = os.memfd_create("certificate"), os.memfd_create("key")
os.write(certificate, sys.argv[2].encode())
os.write(key, sys.argv[3].encode())
own = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
own.check_hostname = False
own.verify_mode = ssl.CERT_NONE
own.load_cert_chain("/proc/self/fd/%d" % certificate, "/proc/self/fd/%d" % key)
told = b""
try:
    sock = own.wrap_socket(socket.create_connection(("127.0.0.1", int(sys.argv[1]))))
    sock.settimeout(30)
    sock.sendall(b"\\0\\0\\0\\x02[]")
    told = sock.recv(4096)
except OSError:
    pass
print(told)
"""


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory in which all may write."""
    with tempfile.TemporaryDirectory(prefix="shared-") as name:
        Path(name).chmod(0o777)
        yield Path(name)


@pytest.fixture
def port() -> int:
    """A free port."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        found: int = sock.getsockname()[1]
    return found


def start(port: int, secret: str, *args: str) -> Run:
    """Start one of two processes that meet at the port."""
    words = ("--size", "2", "--meet", f"tcp://127.0.0.1:{port}", *args)
    env = {"DASK_RUNNER__SECRET": secret}
    return Run((str(DASK_RUNNER), *words, "-c", "print('ran')"), env=env)


@pytest.mark.attack(
    "lays claims of a launch to come into a directory that all can write, and reads "
    "those that are laid",
    "nothing: only the user's own files count, and only the user can read them",
)
def test_claims_of_another_account_lead_nobody(shared: Path) -> None:
    own = Record(KEY, "ab" * 16, "c1", "127.0.0.1", 40000, "CERT", "KEY")
    forged = Record(KEY, "cd" * 16, "c9", "127.0.0.1", 40001, "CERT", "KEY")
    assert attack(LAY, shared, KEY, forged.dump()).returncode == 0
    claims = Claims(shared, KEY)
    assert claims.look() is None
    assert f"belongs to uid {STRANGER}" in claims.trouble
    assert claims.lay(own)
    assert Claims(shared, KEY).look() == own
    assert own.nonce not in attack(READ, shared).stdout


@pytest.mark.attack(
    "listens at the address of `--meet` before the ranks do, with keys of their own",
    "the name of a stranger, printed by each rank (78); nothing of the secret",
)
def test_a_squatter_is_recognised_and_told_nothing(port: int) -> None:
    secret = secrets.token_hex(16)
    with (
        attacking(SQUAT, port, *tls.material()) as squatter,
        start(port, secret) as run,
    ):
        ended = run.wait()
        assert ended.status == CONFIG, ended
        assert f"a stranger listens at 127.0.0.1:{port}" in ended.stderr
        assert squatter.stdout is not None
        assert squatter.stdout.readline() == "told nothing\n"


@pytest.mark.attack(
    "comes to the address of `--meet` with keys of their own",
    "no answer; the launch goes on",
)
def test_who_has_no_secret_is_told_nothing(port: int) -> None:
    secret = secrets.token_hex(16)
    with start(port, secret) as first:

        def is_open() -> bool:
            with socket.socket() as sock:
                return sock.connect_ex(("127.0.0.1", port)) == 0

        until(is_open)
        assert attack(COME, port, *tls.material()).stdout == "b''\n"
        with start(port, secret) as second:
            assert [first.wait().status, second.wait().status] == [0, 0]


@pytest.mark.attack(
    "reads the command lines of processes that meet with a secret",
    "nothing: it comes from a file or a variable, and is no option",
)
def test_the_secret_is_in_no_command_line(port: int) -> None:
    secret = secrets.token_hex(16)
    look = (
        "for pid in filter(str.isdigit, os.listdir('/proc')):\n"
        "    try:\n"
        "        print(open('/proc/%s/cmdline' % pid).read())\n"
        "    except OSError:\n"
        "        pass\n"
        "    try:\n"
        "        print(open('/proc/%s/environ' % pid).read())\n"
        "    except OSError:\n"
        "        pass\n"
    )
    with start(port, secret) as first:
        seen = attack(look).stdout
        assert str(DASK_RUNNER) in seen
        assert secret not in seen
        with start(port, secret) as second:
            assert [first.wait().status, second.wait().status] == [0, 0]


@pytest.mark.attack(
    "reads the command lines and environments of what `dask-runner --hosts` starts",
    "nothing of the cluster's keys: they travel through pipes and ssh alone",
)
def test_what_runs_on_hosts_shows_no_keys() -> None:
    # Not at what strangers run, who bring keys of their own in other tests.
    look = (
        "for pid in filter(str.isdigit, os.listdir('/proc')):\n"
        "    for name in ('cmdline', 'environ'):\n"
        "        try:\n"
        "            if os.stat('/proc/' + pid).st_uid != os.getuid():\n"
        "                print(open('/proc/%s/%s' % (pid, name)).read())\n"
        "        except OSError:\n"
        "            pass\n"
    )
    code = "import time; print('begun', flush=True); time.sleep(600)"
    words = (str(DASK_RUNNER), "--hosts", "localhost:2", "-c", code)
    with Run(words) as run:
        run.wait_for("begun")
        seen = attack(look).stdout
        run.signal(15)
        run.wait()
    assert " hosted" in seen.replace("\0", " ")
    assert "BEGIN" not in seen
    assert "private_key" not in seen
