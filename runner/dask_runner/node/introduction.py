"""What a rank says first to the leader of its node."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from dask_runner.node import follower
from dask_runner.node.fork_context import Borrow
from dask_runner.wire.message import ProtocolError, decode

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Bytes of an introduction; the kernel limits environment and arguments together to
#: 6 MiB (execve(2)).
LARGEST_INTRODUCTION = 8 << 20
#: How a message begins, and no introduction does: that has a version first.
MESSAGE = b"["
#: Seconds for an introduction to arrive, once a follower has connected.
INTRODUCTION_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Introduction:
    """A follower's description of itself.

    Attributes
    ----------
    version, executable : str
        This package's version, and the interpreter.
    identities : tuple of str
        Device and inode of its working directory and of shared files
        (:data:`dask_runner.node.follower.SHARED`).
    directory : str
        Its working directory.
    args : tuple of str
        The arguments of ``dask-runner``.
    environ : mapping
        Its environment.
    """

    version: str
    executable: str
    identities: tuple[str, ...]
    directory: str
    args: tuple[str, ...]
    environ: Mapping[str, str]

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Read the bytes that :func:`dask_runner.node.follower.introduce` has made.

        Raises
        ------
        ProtocolError
            If they are no introduction.
        """
        try:
            version, executable, *fields, end = map(os.fsdecode, data.split(b"\0"))
            paths = 1 + len(follower.SHARED)
            identities, (directory, count, *rest) = fields[:paths], fields[paths:]
            args, variables = rest[: int(count)], rest[int(count) :]
            environ = dict(variable.split("=", 1) for variable in variables)
        except ValueError as error:
            raise ProtocolError("no introduction of a follower") from error
        if end or len(args) != int(count):
            raise ProtocolError("half an introduction of a follower")
        return cls(
            version, executable, tuple(identities), directory, tuple(args), environ
        )


async def first_words(reader: asyncio.StreamReader) -> Introduction | Borrow:
    """Return a follower's introduction, or what a rank asks that plays for itself."""
    try:
        async with asyncio.timeout(INTRODUCTION_SECONDS):
            length = int.from_bytes(await reader.readexactly(follower.LENGTH))
            if length > LARGEST_INTRODUCTION:
                raise ProtocolError(f"an introduction of {length} bytes")
            data = await reader.readexactly(length)
    except (asyncio.IncompleteReadError, TimeoutError) as error:
        raise ProtocolError("half an introduction") from error
    if not data.startswith(MESSAGE):
        return Introduction.read(data)
    message = decode(data)
    if not isinstance(message, Borrow):
        raise ProtocolError(f"{message!r:.80}, which no rank says first")
    return message
