"""Where the processes of a cluster listen, and what strangers are told there.

Both are programs as text, for a Python of any node: SURVEY is run by root, KNOCK by
whoever comes.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Prints all listening sockets of processes: of a user (``uid:1000``), or by number
#: (``12,13``). UDP has no listening; there each bound socket counts.
SURVEY = """
import json, os, re, socket, struct, sys

def processes(chosen):
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            uid = os.stat("/proc/" + name).st_uid
        except FileNotFoundError:
            continue
        if chosen == "uid:%d" % uid or name in chosen.split(","):
            yield name

def sockets(pid):
    for number in os.listdir("/proc/%s/fd" % pid):
        try:
            target = os.readlink("/proc/%s/fd/%s" % (pid, number))
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            yield target[8:-1]

def host(text):
    raw = bytes.fromhex(text)
    words = struct.unpack("=%dI" % (len(raw) // 4), raw)
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    return socket.inet_ntop(family, struct.pack(">%dI" % len(words), *words))

holders = {}
for pid in processes(sys.argv[1]):
    try:
        name = open("/proc/%s/comm" % pid).read().strip()
        for inode in sockets(pid):
            holders[inode] = [pid, name]
    except (FileNotFoundError, ProcessLookupError):
        continue
found = []
for kind, listens in {"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"}.items():
    for line in open("/proc/net/" + kind).read().splitlines()[1:]:
        words = line.split()
        if words[9] in holders and words[3] == listens:
            at, _, port = words[1].rpartition(":")
            found.append([holders[words[9]][1], kind[:3], host(at), int(port, 16)])
for line in open("/proc/net/unix").read().splitlines()[1:]:
    words = line.split(None, 7)
    accepts = int(words[3], 16) & 0x10000 or words[4] != "0001"
    if words[6] in holders and accepts and len(words) == 8:
        found.append([holders[words[6]][1], "unix", words[7], 0])
print(json.dumps(found))
"""

#: Goes to each of these places as one who has no keys, and prints what it is told
#: there. TLS's alert is no answer. It loads nothing that the attacks' stranger has not
#: loaded.
KNOCK = """
import os, socket, ssl, struct, sys

web = [
    b"GET %s HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n" % path
    for path in (b"/health", b"/status", b"/json/identity.json", b"/metrics")
]
upgrade = (
    b"GET / HTTP/1.1\\r\\nHost: x\\r\\n"
    b"Connection: Upgrade\\r\\nUpgrade: websocket\\r\\n"
    b"Sec-WebSocket-Version: 13\\r\\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\\r\\n\\r\\n"
)
# What Dask says first: one frame of eight bytes, which are its length.
dask = struct.pack("<QQ", 1, 0)
said = [b"", *web, upgrade, dask]

def read(sock):
    told = b""
    try:
        while len(told) < 200:
            piece = sock.recv(4096)
            if not piece:
                break
            told += piece
    except (OSError, ssl.SSLError):
        pass
    return told

def plain(family, address):
    for words in said:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.settimeout(5)
            sock.connect(address)
            try:
                sock.sendall(words)
                if not words.startswith(b"GET"):
                    sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            told = read(sock)
            if told and told[:2] != b"\\x15\\x03":
                yield words, told

def encrypted(family, address):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for words in said[1:]:
        with socket.socket(family, socket.SOCK_STREAM) as sock:
            sock.settimeout(5)
            sock.connect(address)
            try:
                with context.wrap_socket(sock) as inside:
                    inside.sendall(words)
                    told = read(inside)
            except (OSError, ssl.SSLError):
                continue
            if told:
                yield b"TLS: " + words, told

def datagrams(family, address):
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        sock.sendto(b"x", address)
        told = read(sock)
        if told:
            yield b"x", told

def tried(kind, at, port):
    if kind == "unix":
        at = "\\0" + at[1:] if at.startswith("@") else at
        return plain(socket.AF_UNIX, at)
    family = socket.AF_INET6 if ":" in at else socket.AF_INET
    if kind == "udp":
        return datagrams(family, (at, port))
    return (one for way in (plain, encrypted) for one in way(family, (at, port)))

answers, refused = [], []
for name, kind, at, port in eval(sys.argv[1]):
    try:
        for words, told in tried(kind, at, port):
            answers.append([name, kind, at, port, repr(words[:40]), repr(told[:60])])
    except OSError as error:
        refused.append([name, kind, at, port, type(error).__name__])
print([os.geteuid(), answers, refused])
"""

Place = tuple[str, str, str, int]

#: The page that says what listens where: its rows begin with a process and a kind.
PAGE = Path(__file__).resolve().parents[1] / "docs/admin/ports.md"
_ROW = re.compile(r"^\| `(dask-\w+)` \| (tcp|unix) \|", re.MULTILINE)


def documented() -> set[tuple[str, str]]:
    """Return what the page for admins has: processes that listen, and the kinds."""
    return {(name, kind) for name, kind in _ROW.findall(PAGE.read_text())}


def here(pids: Iterable[int]) -> list[Place]:
    """Return the listening sockets of processes of this machine."""
    chosen = ",".join(map(str, pids))
    done = subprocess.run(
        [sys.executable, "-c", SURVEY, chosen],
        capture_output=True,
        text=True,
        check=True,
    )
    return places(done.stdout)


def places(printed: str) -> list[Place]:
    """Read what SURVEY has printed: process, kind, host or path, and port of each."""
    return [(name, kind, at, port) for name, kind, at, port in json.loads(printed)]


def arguments(goals: Iterable[Place]) -> list[str]:
    """Return what KNOCK is to be given."""
    return [repr(list(goals))]


@dataclass(frozen=True)
class Told:
    """What somebody without keys was told: by whom, to which words; and by whom not."""

    uid: int
    answers: list[Any]
    refused: list[Any]


def told(printed: str) -> Told:
    """Read what KNOCK has printed."""
    return Told(*ast.literal_eval(printed))
