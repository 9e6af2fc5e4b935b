"""Somebody on the machine where ``dask-runner dashboard`` runs."""

from __future__ import annotations

import ast
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tornado.httpclient import HTTPClientError

from tests.attacks.stranger import STRANGER, attack, attacking
from tests.browser import Browser, Home
from tests.pages import get, listens, path_in
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.running import Run

#: Asks for pages at a port, each with headers, and prints what comes.
ASK = """
found = []
for line, headers in eval(sys.argv[2]):
    with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 30) as sock:
        host = "Host: 127.0.0.1:" + sys.argv[1]
        sock.sendall("\\r\\n".join([line, host, *headers, "", ""]).encode())
        told = b""
        while piece := sock.recv(4096):
            told += piece
    found.append(told.decode())
print([os.geteuid(), found])
"""

#: Opens connections to a port, as many as it may, and says nothing on them.
FLOOD = """
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
held = []
def more(count):
    for _ in range(count):
        sock = socket.socket()
        sock.setblocking(False)
        try:
            sock.connect(("127.0.0.1", int(sys.argv[1])))
        except BlockingIOError:
            pass
        held.append(sock)
more(4000)
print("ready", flush=True)
while True:
    for sock in held[:1000]:
        sock.close()
    del held[:1000]
    more(1000)
"""

#: Prints what is told of processes that this account may see.
PROCESSES = """
found = []
for pid in filter(str.isdigit, os.listdir("/proc")):
    for name in ("cmdline", "environ", "comm", "wchan", "maps"):
        try:
            found.append(open("/proc/%s/%s" % (pid, name), errors="replace").read())
        except OSError:
            pass
print(ascii("".join(found)))
"""

CONNECT = """
with socket.socket(socket.AF_UNIX) as sock:
    try:
        sock.connect(sys.argv[1])
        print("connected")
    except OSError as error:
        print(type(error).__name__)
"""

READ = """
for path in sys.argv[1:]:
    try:
        print(open(path).read())
    except OSError as error:
        print(type(error).__name__)
"""
LAY = READ.replace("open(path).read()", "os.symlink('/dev/null', path)")

LISTEN = """
held = [socket.create_server(("127.0.0.1", 0))]
try:
    held.append(socket.create_server(("127.0.0.1", 8787)))
except OSError:
    pass  # somebody else was faster
print("ready", flush=True)
print(held[0].getsockname()[1], flush=True)
time.sleep(600)
"""

SQUAT = """
sock = socket.socket(socket.AF_UNIX)
sock.bind(sys.argv[1])
sock.listen()
os.chmod(sys.argv[1], 0o777)
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path)
    yield made
    made.close()


@pytest.fixture
def shown(home: Home) -> tuple[Run, Browser]:
    """A cluster, the command that shows its dashboard, and the owner's browser."""
    home.serve("lab")
    run, browser = home.show("lab")
    browser.enters()
    browser.status()
    return run, browser


def asked(port: int, *requests: tuple[str, list[str]]) -> list[str]:
    """Return what the stranger is told."""
    done = attack(ASK, port, list(requests))
    assert done.returncode == 0, done
    user, found = ast.literal_eval(done.stdout)
    assert user == STRANGER
    return list(found)


def refused(told: str) -> bool:
    head, _, body = told.partition("\r\n\r\n")
    return (
        head.startswith("HTTP/1.1 403 ")
        and "dask" not in told.lower()
        and body == "Open the link that was printed where this was started.\n"
    )


@pytest.mark.attack(
    "connects to the port of your `dask-runner dashboard`, without the token",
    "403, and not even what listens there",
)
def test_without_the_token_there_is_nothing(shown: tuple[Run, Browser]) -> None:
    _, browser = shown
    upgrade = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
    told = asked(
        browser.port,
        ("GET / HTTP/1.1", []),
        ("GET /status HTTP/1.1", []),
        ("GET /status?token= HTTP/1.1", []),
        ("POST /status HTTP/1.1", ["Content-Length: 0"]),
        ("GET /status/ws HTTP/1.1", [*upgrade, "Sec-WebSocket-Key: AA=="]),
        ("GET /health HTTP/1.0", []),
    )

    assert all(map(refused, told)), told
    assert browser.get("/health")[0] == 200


@pytest.mark.attack(
    "has read the link over your shoulder, or your browser has sent them the cookie "
    "(browsers send it to all ports of 127.0.0.1)",
    "403: the kernel says whose connection it is",
)
def test_stolen_secrets_open_nothing(shown: tuple[Run, Browser]) -> None:
    _, browser = shown
    cookie = f"Cookie: {browser.headers['Cookie']}"
    link = f"GET /status?token={browser.token} HTTP/1.1"
    told = asked(
        browser.port, (link, []), ("GET /status HTTP/1.1", [cookie]), (link, [cookie])
    )

    assert all(map(refused, told)), told
    assert browser.get("/status")[0] == 200


@pytest.mark.attack(
    "reads the files of your Prometheus server (`--prometheus`), or has learned its "
    "token, and asks for the metrics",
    "nothing: the files are yours alone, and the port tells them 403",
)
def test_nobody_else_reads_the_metrics(home: Home) -> None:
    cluster = home.serve("lab")
    for one in (home.directory, home.directory.parent):
        one.chmod(0o755)
    _, browser = home.show("lab", "--prometheus")
    directory = home.directory / ".dask-runner"
    (targets,) = directory.glob("prometheus-*-lab.json")
    credentials = directory / "prometheus-token"
    bearer = f"Authorization: Bearer {credentials.read_text()}"
    line = "GET /metrics HTTP/1.1"

    assert all(map(refused, asked(browser.port, (line, []), (line, [bearer]))))
    read = attack(READ, targets, credentials)
    assert read.stdout == "PermissionError\nPermissionError\n"
    lay = attack(LAY, directory / "prometheus-x-y.json", home.directory / "file")
    assert lay.stdout == "PermissionError\nPermissionError\n"
    assert attack(CONNECT, path_in(cluster.stderr)).stdout == "PermissionError\n"
    own = browser.get("/metrics", **dict([bearer.split(": ", 1)]))
    assert (own[0], b"dask_runner_worker_up" in own[2]) == (200, True)


@pytest.mark.attack(
    "looks for the dashboard's token in the list of processes and in /proc",
    "nothing: it is in no argument, and variables are not shown to others",
)
def test_the_list_of_processes_has_no_secret(shown: tuple[Run, Browser]) -> None:
    run, browser = shown
    done = attack(PROCESSES)

    assert done.returncode == 0, done.stderr
    assert "dashboard" in done.stdout  # the command itself is seen
    for secret in (browser.token, browser.headers["Cookie"].partition("=")[2]):
        assert secret not in done.stdout
        assert secret not in run.stderr


@pytest.mark.attack(
    "lures you to a page of theirs on another port of 127.0.0.1, to which your browser "
    "sends the dashboard's cookie along",
    "403 for all that the page loads, reads or opens there",
)
def test_a_page_on_another_port_reads_nothing(shown: tuple[Run, Browser]) -> None:
    _, browser = shown
    page = browser.status()
    theirs = "http://127.0.0.1:9999"
    site = {"Sec-Fetch-Site": "same-site"}
    # What a browser says of fetch, <script>, <img>, <iframe> and a form.
    loads = [
        site | {"Origin": theirs, "Sec-Fetch-Mode": "cors"},
        site | {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"},
        site | {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
        site | {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    ]
    for headers in loads:
        for path in ("/status", "/status/autoload.js?bokeh-autoload-element=1"):
            assert browser.get(path, **headers)[0] == 403
    with pytest.raises(HTTPClientError, match="403"):
        browser.session(page, Origin=theirs)
    assert browser.session(page) == "ACK"


@pytest.mark.attack(
    "leads a name of theirs to 127.0.0.1 (DNS rebinding), so that their web page and "
    "your dashboard seem to be one site",
    "403: the dashboard answers to the names of loopback alone",
)
def test_another_name_for_loopback_reads_nothing(shown: tuple[Run, Browser]) -> None:
    _, browser = shown

    for host in ("somebody.example", f"somebody.example:{browser.port}"):
        assert browser.get("/status", Host=host)[0] == 403
        assert browser.get(f"/status?token={browser.token}", Host=host)[0] == 403


@pytest.mark.attack(
    "opens thousands of connections to the port of your `dask-runner dashboard`, over "
    "and over",
    "nothing: those who wait longest are turned away, and your browser gets in",
)
def test_a_flood_does_not_keep_the_owner_out(shown: tuple[Run, Browser]) -> None:
    run, browser = shown
    page = browser.status()
    with attacking(FLOOD, browser.port) as stranger:
        for _ in range(10):
            assert browser.get("/health")[0] == 200
        assert browser.session(page) == "ACK"
        held = len(list(Path(f"/proc/{run.process.pid}/fd").iterdir()))
        assert held < 1000
        assert stranger.poll() is None
    assert run.process.poll() is None


@pytest.mark.attack(
    "listens at port 8787 before your `dask-runner dashboard` does",
    "nothing: it takes another port, and the link names that",
)
def test_a_port_that_is_taken_is_not_used(home: Home) -> None:
    home.serve("lab")
    with attacking(LISTEN) as stranger:
        assert stranger.stdout is not None
        theirs = stranger.stdout.readline().strip()
        _, browser = home.show()
        assert browser.port != 8787
        # Not 8787: if another has that, it may be free a moment later.
        ended = home.run("dashboard", "--port", theirs).wait()

    assert ended.status == 78, ended
    assert ended.stdout == ""


@pytest.mark.attack(
    "connects to the socket of `dask-runner dashboard --socket`, whose path they know",
    "nothing: only you can open it",
)
def test_the_socket_is_its_owners(home: Home) -> None:
    home.serve("lab")
    home.directory.parent.chmod(0o755)
    path = home.directory / "socket"
    home.directory.chmod(0o755)
    home.run("dashboard", "--socket", str(path))
    until(lambda: listens(path))
    assert get(str(path), "/")[0] == 200

    assert attack(CONNECT, path).stdout == "PermissionError\n"


@pytest.mark.attack(
    "puts a socket of theirs where `dask-runner dashboard --socket` would have its own",
    "nothing: it does not start in a directory where others can write, nor at a path "
    "where something of another account is",
)
def test_a_socket_of_theirs_is_not_used(home: Home) -> None:
    shared = Path("/tmp", f"shared-{os.getpid()}")
    shared.mkdir()
    shared.chmod(0o1777)
    path = shared / "socket"
    try:
        with attacking(SQUAT, path):
            others = home.run("dashboard", "--socket", str(path)).wait()
            beside = home.run("dashboard", "--socket", str(shared / "other")).wait()
            shared.chmod(0o755)
            theirs = home.run("dashboard", "--socket", str(path)).wait()
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(path))  # it is still theirs
    finally:
        path.unlink()
        shared.rmdir()

    for ended, why in (
        (others, "can be written by others"),
        (beside, "can be written by others"),
        (theirs, f"belongs to uid {STRANGER}"),
    ):
        assert ended.status == 78, ended
        assert why in ended.stderr
