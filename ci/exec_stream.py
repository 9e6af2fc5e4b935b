"""What a command in a container prints, as the engine's API sends it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Which stream a frame belongs to, and the frame's head (the Engine API's "stream
#: format" of attach): stream, three bytes of nothing, length.
STDOUT, STDERR = 1, 2
HEAD = struct.Struct(">BxxxL")
#: Most bytes to take from a terminal at once.
CHUNK = 1 << 16


def frames(stream: Any, *, tty: bool) -> Iterator[tuple[int, bytes]]:
    """Read the streams of an exec; the engine's API calls this format a stream.

    The SDK's own reader begins at the bare socket and loses what came together with
    the head of the answer, which is all that a quick command prints.
    """
    reader = stream._response.raw._fp.fp  # noqa: SLF001  where the SDK takes it from
    if tty:
        while data := reader.read1(CHUNK):
            yield STDOUT, data
        return
    while len(head := reader.read(HEAD.size)) == HEAD.size:
        number, length = HEAD.unpack(head)
        yield number, reader.read(length)
