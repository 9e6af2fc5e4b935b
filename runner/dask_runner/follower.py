"""A rank that another rank of its node plays for, and how the two find each other.

All ranks of a node are the same program with the same command. So one of them, the
leader, can play the part of each (:mod:`dask_runner.hosting`), and the others stay
as small as an interpreter is: they hand over what is their own, pass on the signals
that they get, and end with the status that they are told. Who gets no leader plays
its part by itself.

This module is all that such a rank imports, and it is told by the milliseconds: the
modules here are built into the interpreter or loaded by it anyway. Of those with an
underscore, ``socket`` and ``signal`` are the public faces; they import ``enum`` and
``selectors``, and that alone is a third of what a follower costs (``python -X
importtime``).

::

    follower → leader   length, introduction (fields that end with NUL)
    leader → follower   a line: what to say if the leader is lost; or the end of
                        the connection: play your part yourself
    follower → leader   a byte for each signal: its number
    leader → follower   a line: the exit status
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # typeshed lacks it
import _socket
import os
import sys
import time

from dask_runner import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import FrameType
    from typing import Any, Self

#: Of a launcher, what can be read at a glance: its row's name, the variable of the
#: local rank, and those that name the launch. The innermost comes first. It is a
#: guess, which the leader checks against the whole table of launchers.
GLANCES = (
    ("local", "DASKRUNNER_RANK", ("DASKRUNNER_JOB_ID",)),
    ("openmpi", "OMPI_COMM_WORLD_LOCAL_RANK", ("PMIX_NAMESPACE",)),
    ("flux", "FLUX_TASK_LOCAL_ID", ("FLUX_JOB_ID",)),
    ("slurm", "SLURM_LOCALID", ("SLURM_JOB_ID", "SLURM_STEP_ID")),
)

#: First arguments with which it is no rank that runs a program.
NO_RUN = ("info", "check", "recipe", "--help", "--version")

#: Signals that end a cluster, and all that a follower passes on.
ENDS = (_signal.SIGTERM, _signal.SIGINT)
SIGNALS = (*ENDS, _signal.SIGUSR1, _signal.SIGUSR2)

#: Seconds for the leader to come into being, and to answer. Later, the follower
#: plays its part itself, which is slower and nothing worse. A launcher starts the
#: tasks of a node together; where each has a network of its own, none ever appears.
APPEARS = 3.0
ANSWERS = 30.0
#: Seconds between looks for it, at first and at last.
FIRST_LOOK, LAST_LOOK = 0.005, 0.05

#: Bytes of an abstract socket's name, which the kernel limits to 107 (unix(7)).
LONGEST = 100

#: Bytes of an introduction's length.
LENGTH = 4

#: Where two containers of a node may differ without a word of it in the environment.
SHARED = ("/tmp",)  # noqa: S108  looked at, and not written to

#: How ``ps -o comm`` shows a follower.
NAME = "dask-follower"

#: Set by a follower that no leader plays for, where it is not Python: the images have
#: one that says the same in less (``images/follower``). Not for others to set.
ALONE = "DASKRUNNER_ALONE"

#: What a rank of a lost cluster ends with (``errors.LostError.status``).
LOST = 69


def meeting_place(environ: Mapping[str, str], args: Sequence[str]) -> tuple[str, bool]:
    """Return the name of the leader's socket, and whether this rank leads.

    Returns
    -------
    (str, bool)
        An empty name where ranks of a node cannot find each other at a glance.
    """
    if not args or args[0] in NO_RUN:
        return "", False
    for launcher, local_rank, launch in GLANCES:
        if all(environ.get(name) for name in (local_rank, *launch)):
            names = [environ[name] for name in launch]
            what = "-".join([str(os.geteuid()), launcher, *names])
            return f"dask-runner-{what[-LONGEST:]}", environ[local_rank] == "0"
    return "", False


def claim(name: str) -> _socket.socket | None:
    """Open the leader's socket; None if another process has it."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        sock.bind(f"\0{name[:LONGEST]}")
    except OSError:
        sock.close()
        return None
    sock.listen(_socket.SOMAXCONN)
    return sock


def follow(name: str, args: Sequence[str]) -> int | None:
    """Let the leader of that name play this rank's part.

    Returns
    -------
    int or None
        The exit status; None if this process is to play its part itself.
    """
    with _Signals() as signals:
        leader = _find(name)
        if leader is None:
            return None
        introduction = introduce(args)
        leader.settimeout(ANSWERS)
        try:
            leader.sendall(len(introduction).to_bytes(LENGTH) + introduction)
        except OSError:
            leader.close()
            return None
        last_words = _line(leader)
        if last_words is None:
            leader.close()
            return None
        leader.settimeout(None)
        signals.pass_on(leader)
        _call_it(NAME)
        status = _line(leader)
        leader.close()
    if status is not None:
        return int(status)
    if last_words:
        print(last_words, file=sys.stderr, flush=True)  # noqa: T201  report.say: click
    return LOST


def introduce(args: Sequence[str]) -> bytes:
    """Return what the leader has to know of this process, each field NUL-ended."""
    fields = [
        __version__,
        sys.executable,
        *map(identity, (".", *SHARED)),
        os.getcwd(),  # noqa: PTH109  pathlib is no part of a follower
        str(len(args)),
        *args,
        *(f"{name}={value}" for name, value in os.environ.items()),
    ]
    return b"".join(os.fsencode(field) + b"\0" for field in fields)


def identity(path: str) -> str:
    """Name a directory as the kernel knows it: device and inode."""
    try:
        found = os.stat(path)  # noqa: PTH116  pathlib is no part of a follower
    except OSError:
        return ""
    return f"{found.st_dev}:{found.st_ino}"


def _find(name: str) -> _socket.socket | None:
    latest, pause = time.monotonic() + APPEARS, FIRST_LOOK
    while True:
        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            sock.connect(f"\0{name[:LONGEST]}")
        except OSError:
            sock.close()
            if time.monotonic() > latest:
                return None
            # There is no event to wait for: an abstract name has no directory.
            time.sleep(pause)
            pause = min(pause * 1.5, LAST_LOOK)
            continue
        if _is_ours(sock):
            return sock
        sock.close()
        return None


def _is_ours(sock: _socket.socket) -> bool:
    told = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    return int.from_bytes(told[4:8], sys.byteorder) == os.geteuid()


def _line(leader: _socket.socket) -> str | None:
    """Read a line; None if the connection ends before, or the time does."""
    line = b""
    while not line.endswith(b"\n"):
        try:
            # One byte at a time: what comes behind the line is the next one's.
            byte = leader.recv(1)
        except OSError:
            return None
        if not byte:
            return None
        line += byte
    return line[:-1].decode(errors="replace")


def _call_it(name: str) -> None:
    try:
        with open("/proc/self/comm", "w") as file:  # noqa: PTH123  as above
            file.write(name)
    except OSError:
        return  # a name is a convenience


class _Signals:
    """Ends this process by a signal's status, or passes it on to the leader."""

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._leader: _socket.socket | None = None

    def __enter__(self) -> Self:
        for number in SIGNALS:
            self._before[number] = _signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            _signal.signal(number, handler)

    def pass_on(self, leader: _socket.socket) -> None:
        """From now on the leader gets them."""
        self._leader = leader

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._leader is None:
            # As every rank does before it has met the others.
            if number in ENDS:
                sys.exit(128 + number)
            return
        try:
            self._leader.send(bytes([number]))
        except OSError:
            # The leader is gone, which is read in a moment and says more.
            return
