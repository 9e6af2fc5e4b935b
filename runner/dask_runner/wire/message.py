"""A message: how it is declared, and how it travels.

A message travels as JSON: its class name, and its fields as plain JSON values. A
message with other fields or types is refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

from dask_runner.wire.typed_json import read, write


class ProtocolError(Exception):
    """The received bytes are not one of these messages."""


@dataclass(frozen=True)
class Message:
    """Base of all messages."""

    kinds: ClassVar[dict[str, type[Message]]] = {}

    def __init_subclass__(cls) -> None:
        Message.kinds[cls.__name__] = cls


def encode(message: Message) -> bytes:
    """Return a message as JSON."""
    return write(message).encode()


def decode(payload: bytes) -> Message:
    """Read a message.

    Raises
    ------
    ProtocolError
        If the text is not JSON, no known message, or one with wrong fields.
    """
    try:
        return read(Message, json.loads(payload))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise ProtocolError(f"not a message: {payload[:60]!r}") from error
