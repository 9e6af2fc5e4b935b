"""One rank's messages on the agent's lifeline."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from dask_runner.hub import messages as m
from dask_runner.programs.rank_line import RankLine

if TYPE_CHECKING:
    from dask_runner.wire.message import Message


def test_what_a_rank_says_waits_in_order_until_its_end() -> None:
    async def play() -> list[Message | None]:
        line = RankLine(lambda _: None)
        for message in (m.Ping(), m.Close(0), None):
            line.hear(message)
        return [await line.receive() for _ in range(3)]

    assert asyncio.run(play()) == [m.Ping(), m.Close(0), None]
