"""Which account is at the other end of a connection on loopback.

The kernel lists every connection with its owner (``/proc/net/tcp`` in proc(5)). So a
secret that another account has learned is of no use to it.
"""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING

from dask_runner.linux import PROC, read

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: A list that changes while it is read may leave an entry out.
LOOKS = 3

_ROOT = 0
#: How the list of IPv6 shows an IPv4 address, of a socket that serves both.
_MAPPED = "0000000000000000FFFF0000"


def is_ours(sock: socket.socket) -> bool:
    """Return whether this account, or root, has made a connection of IPv4.

    Parameters
    ----------
    sock : socket.socket
        Our end.
    """
    try:
        own, peer = sock.getsockname(), sock.getpeername()
    except OSError:  # it is gone again
        return False
    return any(owner(own, peer) in {_ROOT, os.geteuid()} for _ in range(LOOKS))


def owner(own: tuple[str, int], peer: tuple[str, int], proc: Path = PROC) -> int | None:
    """Return the user whose socket the other end is; None if the kernel shows none.

    Parameters
    ----------
    own, peer : (str, int)
        Address and port of our end and of the other.
    proc : Path
    """
    seen = _spelled(*peer), _spelled(*own)
    entries = (*_entries(proc / "self/net/tcp"), *_entries(proc / "self/net/tcp6"))
    return next((user for user, *ends in entries if (*ends,) == seen), None)


def tells(proc: Path = PROC) -> bool:
    """Return whether the kernel shows connections at all."""
    return bool(read(proc / "self/net/tcp"))


def _entries(path: Path) -> Iterator[tuple[int, str, str]]:
    # sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode ...
    for line in read(path).splitlines()[1:]:
        _, local, remote, _, _, _, _, user, _, inode, *_ = line.split()
        # One that its process has closed has no inode, and belongs to root.
        if inode != "0":
            yield int(user), local.removeprefix(_MAPPED), remote.removeprefix(_MAPPED)


def _spelled(host: str, port: int) -> str:
    number = int.from_bytes(socket.inet_aton(host), sys.byteorder)
    return f"{number:08X}:{port:04X}"
