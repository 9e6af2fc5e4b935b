"""The carrier of a node: it writes what the workers print, in whole lines with labels.

The agent forks it first of all; one that is a fresh Python has not imported Dask then,
and the carrier is small. Each worker hands it the other ends of its stdout and stderr
(:mod:`dask_runner.programs.carried`). It reads a piece at a time and writes the lines
that end in it where the node's agent prints, which the launcher carries to the user:
nothing of it goes over the hub. If nobody reads there, it waits, and those who print
wait with it: it keeps no more than a piece and a line of each.

It outlives those who print, by any death, and ends when the last of them has closed
its pipes.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import selectors
import signal
import socket
import stat
import sys
from functools import partial
from typing import TYPE_CHECKING

from dask_runner import linux
from dask_runner.hub.report import marked
from dask_runner.programs import carried
from dask_runner.programs.carried import WRITE_NOW
from dask_runner.programs.lines import Lines, blocks
from dask_runner.resources import open_files

if TYPE_CHECKING:
    from collections.abc import Callable

    Call = Callable[[], object]

#: Bytes that are read at a time.
PIECE_BYTES = 1 << 16
#: Bytes that a pipe may have (pipe(7), ``pipe-max-size``).
MOST_IN_A_PIPE = 1 << 20
#: Bytes of a message about a process that prints.
LONGEST_MESSAGE = 1 << 14
#: Seconds without a word, after which it ends where the rank is gone.
SILENCE_SECONDS = 1.0
#: Seconds after which it is killed there, as nobody may read what it writes.
LAST_SECONDS = 5


def main() -> None:
    """Carry until nobody prints any more."""
    _end_after(os.getppid())
    open_files.allow_many_files()
    Carrier(carried.held(), int(sys.argv[1])).run()


def _end_after(top: int) -> None:
    """Have the kernel kill this process some time after *top*, its parent."""

    def look(number: int, frame: object) -> None:
        del number, frame
        if os.getppid() != top:
            signal.alarm(LAST_SECONDS)

    signal.signal(signal.SIGUSR1, look)
    linux.die_with_parent(signal.SIGUSR1)


class Carrier:
    """Reads from many, and writes to two.

    Parameters
    ----------
    agent : socket
        Brings those who print.
    top : int
        The lifeline's descriptor. Its end tells that the rank is gone.
    out, err : int
        Where to write what comes from stdout and stderr.
    """

    def __init__(
        self, agent: socket.socket, top: int, out: int = 1, err: int = 2
    ) -> None:
        self._agent = agent
        self._top = top
        self._to = out, err
        self._selector = selectors.DefaultSelector()
        self._streams: set[_Stream] = set()
        self._comes = True
        self._rank_is_there = True
        self._warned = False

    def run(self) -> None:
        """Carry until the agent and all who print have closed their ends."""
        self._watch(self._agent.fileno(), self._hear)
        self._watch(self._top, self._hear_of_rank)
        while self._comes or self._streams:
            ready = self._selector.select(
                None if self._rank_is_there else SILENCE_SECONDS
            )
            if not ready:
                # Something that a task has left prints no more, and does not end.
                break
            for key, _ in ready:
                if key.fd in self._selector.get_map():
                    key.data()
        for stream in list(self._streams):
            self._end(stream)

    def _watch(self, descriptor: int, call: Call) -> None:
        self._selector.register(descriptor, selectors.EVENT_READ, call)

    def _hear_of_rank(self) -> None:
        try:
            there = os.read(self._top, PIECE_BYTES)
        except OSError:
            there = b""
        if not there:
            self._selector.unregister(self._top)
            self._rank_is_there = False
            signal.alarm(LAST_SECONDS)

    def _hear(self) -> None:
        """Take what the agent or a worker brings."""
        try:
            about, brought, _, _ = socket.recv_fds(self._agent, LONGEST_MESSAGE, 3)
        except OSError:
            about, brought = b"", []
        if not about:
            self._selector.unregister(self._agent.fileno())
            self._comes = False
        elif about == WRITE_NOW:
            for stream in list(self._streams):
                self._read_all(stream)
            for descriptor in brought:
                os.close(descriptor)
        else:
            label, copy = json.loads(about)
            *streams, there = brought
            for descriptor, to in zip(streams, self._to, strict=True):
                os.set_blocking(descriptor, False)
                stream = _Stream(descriptor, Lines(label), to, copy, os.dup(there))
                self._streams.add(stream)
                self._watch(descriptor, partial(self._read, stream))
            os.close(there)

    def _read_all(self, stream: _Stream) -> None:
        taken = 0
        while taken < MOST_IN_A_PIPE and (size := self._read(stream)):
            taken += size

    def _read(self, stream: _Stream) -> int:
        """Read a piece and write its lines; return the size of the piece."""
        try:
            piece = os.read(stream.descriptor, PIECE_BYTES)
        except BlockingIOError:
            return 0
        if piece:
            self._write(stream, stream.lines.take(piece))
        else:
            self._end(stream)
        return len(piece)

    def _end(self, stream: _Stream) -> None:
        self._write(stream, stream.lines.rest())
        self._selector.unregister(stream.descriptor)
        self._streams.discard(stream)
        stream.close()

    def _write(self, stream: _Stream, lines: bytes) -> None:
        # Somebody may not read, or the disk is full: those who print go on.
        with contextlib.suppress(OSError):
            write(stream.to, stream.lines.labelled(lines))
        try:
            stream.keep(lines)
        except OSError as error:
            self._warn(f"warning: {stream.copy} lacks lines: {error.strerror}")

    def _warn(self, text: str) -> None:
        if not self._warned:
            self._warned = True
            with contextlib.suppress(OSError):
                write(self._to[1], marked(text).encode() + b"\n")


class _Stream:
    """One stream of one process.

    Parameters
    ----------
    descriptor : int
        Where to read it.
    lines : Lines
    to : int
        Where to write it.
    copy : str
        The file that gets it as well; empty for none. It exists: the rank has made it.
    there : int
        Is open for as long as the stream is carried. Its other end tells the process.
    """

    def __init__(
        self, descriptor: int, lines: Lines, to: int, copy: str, there: int
    ) -> None:
        self.descriptor = descriptor
        self.lines = lines
        self.to = to
        self.copy = copy
        self._there = there
        self._file = -1

    def keep(self, lines: bytes) -> None:
        """Append lines to the copy."""
        if self.copy and lines:
            if self._file < 0:
                flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
                self._file = os.open(self.copy, flags)
            write(self._file, lines)

    def close(self) -> None:
        """Close what belongs to it."""
        os.close(self.descriptor)
        os.close(self._there)
        if self._file >= 0:
            os.close(self._file)


def write(descriptor: int, lines: bytes) -> None:
    """Write whole lines.

    Others write to the same pipe. The kernel keeps what is written at once together up
    to a size (pipe(7), ``PIPE_BUF``), and beyond it only a line that is longer is torn.
    """
    together = select.PIPE_BUF if _is_pipe(descriptor) else len(lines)
    for block in blocks(lines, together):
        left = memoryview(block)
        while left:
            try:
                left = left[os.write(descriptor, left) :]
            except BlockingIOError:
                select.select([], [descriptor], [])


def _is_pipe(descriptor: int) -> bool:
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
