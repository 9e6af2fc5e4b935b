"""A record that is handed over in one broadcast."""

from __future__ import annotations

import asyncio

import pytest

from dask_runner.errors import ConfigError
from dask_runner.meeting.record import Record, with_address
from dask_runner.meeting.relay import RelayMeeting
from tests.unit.records import RECORD


def test_a_relay_carries_the_record_once_and_offers_it_again_and_again() -> None:
    handed: list[str | None] = []

    async def hand_over(text: str | None) -> str:
        handed.append(text)
        return RECORD.dump()

    async def play() -> list[Record]:
        rank0, rank1 = RelayMeeting(hand_over), RelayMeeting(hand_over)
        await rank0.publish(RECORD)
        await rank0.publish(with_address(RECORD, "tcp://127.0.0.1:1"))
        records = rank1.records()
        async with asyncio.timeout(5):
            return [await anext(records) for _ in range(3)]

    assert asyncio.run(play()) == [RECORD] * 3
    assert handed == [RECORD.dump(), None]


def test_a_relay_that_brings_garbage_is_an_error_with_a_way_out() -> None:
    async def hand_over(text: str | None) -> str:
        return text or "garbage"

    async def play() -> None:
        await anext(RelayMeeting(hand_over).records())

    with pytest.raises(ConfigError, match="handed over"):
        asyncio.run(play())
