"""What the programs of a rank are told arrives as it was sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given

from dask_runner.node.instructions import (
    RunBroadcast,
    RunClient,
    RunScheduler,
    RunWorkers,
)
from dask_runner.wire.message import decode, encode
from tests.unit.values import values

if TYPE_CHECKING:
    from dask_runner.wire.message import Message


@given(
    values(RunBroadcast) | values(RunClient) | values(RunScheduler) | values(RunWorkers)
)
def test_an_instruction_arrives_as_it_was_sent(message: Message) -> None:
    assert decode(encode(message)) == message
