"""What the kernel tells of processes, mounts and peers, and what it is asked to do.

A follower keeps copies of what it needs: it starts faster without any module.
"""

from __future__ import annotations

import os
import re
import signal
import socket
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

PROC = Path("/proc")

# prctl(2).
_PR_SET_PDEATHSIG, _PR_SET_NAME, _PR_SET_CHILD_SUBREAPER = 1, 15, 36

# struct ucred (unix(7), SO_PEERCRED): pid, uid, gid.
_UCRED_SIZE = 12


def read(path: Path) -> str:
    """Return a file's text; empty if there is none to be had."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


# -------------------------------------------------------------------- processes


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """What ``/proc/PID/stat`` tells of a process (proc(5)).

    Attributes
    ----------
    state : str
        One letter: T is stopped, Z and X are dead.
    parent : int
    began : str
        When it began, which tells it from a later process of its number.
    status : int or None
        How it ended, as wait(2) has it; None from a kernel that does not tell.
    """

    state: str
    parent: int
    began: str
    status: int | None


def process(pid: int, proc: Path = PROC) -> ProcessStat | None:
    """Return what is told of a process; None if there is none, or it is hidden."""
    # 4711 (name with spaces and parentheses) S 1 ...: fields 3, 4, 22 and 52.
    _, named, told = read(proc / f"{pid}/stat").rpartition(")")
    fields = told.split()
    if not named or len(fields) < 2:  # noqa: PLR2004  the state and the parent
        return None
    began = fields[19] if len(fields) > 19 else ""  # noqa: PLR2004  as above
    status = int(fields[49]) if len(fields) > 49 else None  # noqa: PLR2004  as above
    return ProcessStat(fields[0], int(fields[1]), began, status)


def command_line(pid: int, proc: Path = PROC) -> str:
    """Return the command line of a process; empty if there is none, or it is hidden."""
    return read(proc / f"{pid}/cmdline").replace("\0", " ").strip()


def process_name(pid: int, proc: Path = PROC) -> str:
    """Return a process's name, as ``ps -o comm`` shows it; empty if there is none."""
    return read(proc / f"{pid}/comm").strip()


def first_environ(proc: Path = PROC) -> dict[str, str]:
    """Return the variables that this process, or what it is a fork of, began with.

    The C library has read these, whatever Python has changed since.
    """
    entries = read(proc / "self/environ").split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def children() -> list[int]:
    """Return the children of this process."""
    numbers = (int(each.name) for each in PROC.iterdir() if each.name.isdecimal())
    told = ((number, process(number)) for number in numbers)
    return [number for number, of in told if of and of.parent == os.getpid()]


def die_with_parent(number: int) -> None:
    """Get this signal when the process that started this one is gone."""
    _prctl(_PR_SET_PDEATHSIG, number)


def end_with_parent(started_by: int) -> None:
    """Get SIGTERM when the process that started this one is gone, or at once if it is.

    Parameters
    ----------
    started_by : int
        That process. Only it knows its number for sure: a process whose parent has
        died sees another parent.
    """
    die_with_parent(signal.SIGTERM)
    if os.getppid() != started_by:
        signal.raise_signal(signal.SIGTERM)


def adopt_orphans() -> None:
    """Become the parent of what this process's descendants leave behind."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def name_process(name: str) -> None:
    """Name this process as ``ps -o comm`` shows it (at most 15 characters)."""
    _prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


def _prctl(*arguments: int | bytes) -> None:
    import ctypes  # noqa: PLC0415  few processes need it

    ctypes.CDLL(None).prctl(*arguments)


# ----------------------------------------------------------------- peers, files


#: How many user ids exist (user_namespaces(7)): a namespace that maps all hides none.
_ALL_USERS = 2**32 - 1

_OVERFLOW = PROC / "sys/kernel/overflowuid"
_MAP = PROC / "self/uid_map"


@lru_cache
def _hides_users() -> int:
    """Return the number that stands for users of which this namespace knows nothing."""
    try:
        lines = [line.split() for line in _MAP.read_text().splitlines()]
        overflow = int(_OVERFLOW.read_text())
    except OSError:  # not Linux
        return -1
    return overflow if sum(int(line[2]) for line in lines) < _ALL_USERS else -1


def is_hidden(uid: int) -> bool:
    """Return whether a file's owner is one that this user namespace does not know.

    Root's own files look so in an unprivileged container. Another account's look the
    same, and cannot be told from them.
    """
    return uid == _hides_users()


def peer(sock: Any) -> tuple[int, int]:
    """Return process id and user of the process at the other end (unix(7)).

    The process id is 0 for one that this process cannot see.
    """
    told = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED_SIZE)
    pid, user, _ = memoryview(told).cast("i")
    return pid, user


def identity(path: Path) -> list[int]:
    """Return device and inode, which no two files share; empty if there is none."""
    try:
        found = path.stat()
    except OSError:
        return []
    return [found.st_dev, found.st_ino]


# ----------------------------------------------------------------------- mounts


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of ``/proc/self/mountinfo``."""

    root: str
    point: str
    kind: str
    options: tuple[str, ...]


def mounted(proc: Path = PROC) -> tuple[Mount, ...]:
    """Return what is mounted for this process; lines in another form are left out."""
    return _mounts(read(proc / "self/mountinfo"))


# It says the same each time that a leader looks for one of its followers.
@lru_cache(maxsize=8)
def _mounts(mountinfo: str) -> tuple[Mount, ...]:
    return tuple(_each_mount(mountinfo))


def _each_mount(mountinfo: str) -> Iterator[Mount]:
    # 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
    for line in mountinfo.splitlines():
        left, dash, right = line.partition(" - ")
        fields, tail = left.split(" "), right.split(" ")
        if not dash or len(fields) < 5 or len(tail) < 3:  # noqa: PLR2004  proc(5)
            continue
        yield Mount(
            _unescape(fields[3]),
            _unescape(fields[4]),
            tail[0],
            tuple(tail[2].split(",")),
        )


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), text)
