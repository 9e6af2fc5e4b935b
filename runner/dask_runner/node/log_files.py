"""Read the logs of a rank's processes, piece by piece, while they are written.

A log that has become too long loses its older lines, in place
(:mod:`dask_runner.programs.log`). So a position in it is known by what stands
before it, and is found again where the lines have moved to.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import time
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from dask_runner.hub import messages as m

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

#: Bytes that are read at a time, of all logs of a rank together.
PIECE_BYTES = 1 << 16
#: Bytes by which a position is known: a few lines, with the times in them.
BEFORE_BYTES = 256
#: Bytes in which a position is searched for: more than a log has.
SEARCHED_BYTES = 1 << 22
#: Seconds for a process that shortens its log to have written the rest again. There is
#: no event to wait for: the standard library has no inotify, and a lock would let a
#: process that is stopped while it has it keep its log from all readers.
REWRITE_SECONDS = 0.1

#: Seconds between checks of logs that have not grown, and until that is said.
LOOK_SECONDS, WAIT_SECONDS = 0.3, 10.0

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


async def answer(message: m.AskLines, logs: Callable[[], Mapping[str, str]]) -> m.Lines:
    """Return the answer to a message; *logs* returns the paths that there are by now.

    Files are read in a thread, because a disk may take its time.
    """
    latest = asyncio.get_running_loop().time() + WAIT_SECONDS

    def chosen() -> dict[str, str]:
        there, names = logs(), message.names
        return {name: there[name] for name in names or there if name in there}

    if not message.waits:
        positions, last = message.positions, message.last
        how = partial(read, message.number, chosen(), positions, last=last)
        return await asyncio.to_thread(how)
    grown = False
    while not grown and asyncio.get_running_loop().time() < latest:
        grown = await asyncio.to_thread(has_grown, chosen(), message.positions)
        if not grown:
            await asyncio.sleep(LOOK_SECONDS)
    return m.Lines(message.number, [], more=grown)


def read(
    number: int,
    logs: Mapping[str, str],
    positions: Iterable[m.LogPosition],
    *,
    last: bool,
) -> m.Lines:
    """Read on in logs, as far as a message goes.

    Parameters
    ----------
    number : int
        The number of the answer.
    logs : mapping of str to str
        The path of each, by its process's name.
    positions : iterable of LogPosition
    last : bool
        Whether to take a line that has no end.
    """
    known = {position.name: position for position in positions}
    pieces, left = [], PIECE_BYTES
    for name, path in logs.items():
        at = known.get(name, m.LogPosition(name, 0, ""))
        piece, size = _piece(path, at, left, last=last)
        if piece is not None:
            pieces.append(piece)
        left -= size
        if left <= 0:
            break
    return m.Lines(number, pieces, more=left < PIECE_BYTES)


def has_grown(logs: Mapping[str, str], positions: Iterable[m.LogPosition]) -> bool:
    """Return whether there may be something to read on."""
    known = {position.name: position.offset for position in positions}
    return any(_size(path) != known.get(name, 0) for name, path in logs.items())


def _size(path: str) -> int:
    try:
        return os.stat(path, follow_symlinks=False).st_size  # noqa: PTH116  no Path
    except OSError:
        return 0  # there is none yet, or not any more


def _piece(
    path: str, at: m.LogPosition, most: int, *, last: bool
) -> tuple[m.LogPiece | None, int]:
    """Return what follows a position, and its bytes; None if nothing does."""
    try:
        with _opened(path) as file:
            offset = _find(file, at)
            file.seek(offset)
            data = _lines(file.read(most), most, last=last)
            end = offset + len(data)
            if end == at.offset:
                return None, 0
            before = min(BEFORE_BYTES, end)
            file.seek(end - before)
            to = m.LogPosition(at.name, end, file.read(before).decode("latin-1"))
    except OSError:
        # There is none yet, or not any more; or its disk fails, and the rank goes on.
        return None, 0
    return m.LogPiece(data.decode("utf-8", "replace"), to), len(data)


def _opened(path: str) -> BinaryIO:
    descriptor = os.open(path, _FLAGS)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            # A task may put anything there.
            raise FileNotFoundError(errno.ENOENT, "no file", path)
        return os.fdopen(descriptor, "rb")
    except OSError:
        os.close(descriptor)
        raise


def _lines(data: bytes, most: int, *, last: bool) -> bytes:
    """Return whole lines, or a part of one that is longer than a message."""
    whole = data[: data.rfind(b"\n") + 1]
    if len(data) < most:
        return data if last else whole
    return whole or (data if most == PIECE_BYTES else b"")


def _find(file: BinaryIO, at: m.LogPosition) -> int:
    """Return the offset of a position; 0 if what stood before it is gone."""
    before = at.before.encode("latin-1")
    for pause in (0.0, REWRITE_SECONDS):
        time.sleep(pause)
        file.seek(at.offset - len(before))
        if file.read(len(before)) == before:
            return at.offset
        file.seek(0)
        found = file.read(SEARCHED_BYTES).rfind(before)
        if found >= 0:
            return found + len(before)
    return 0
