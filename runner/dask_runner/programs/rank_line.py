"""One rank's messages on the agent's lifeline, which several ranks share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from dask_runner.wire.message import Message


class RankLine:
    """The messages of a rank to the agent, and the agent's to it.

    Parameters
    ----------
    send : callable
        Sends a message to the rank.
    """

    def __init__(self, send: Callable[[Message], None]) -> None:
        self.send = send
        self._received: asyncio.Queue[Message | None] = asyncio.Queue()

    def hear(self, message: Message | None) -> None:
        """Take a message of the rank; None if the rank is gone."""
        self._received.put_nowait(message)

    async def receive(self) -> Message | None:
        """Wait for the rank's next message; None if the rank is gone."""
        return await self._received.get()
