"""Who has the key, and talks nonsense or says nothing."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from dask_runner.hub import messages as m
from dask_runner.hub import server
from dask_runner.wire.message import encode
from tests.local.served import LOOPBACK, Served
from tests.unit.stage import playing

if TYPE_CHECKING:
    import pytest

PATIENCE = 20.0

FRAMES = st.lists(
    st.binary(max_size=64)
    | st.sampled_from(
        [
            encode(message)
            for message in (
                m.NodeHello("c1"),
                m.Hello(0, 0, 1),
                m.Hello(1),
                m.Ping(),
                m.Bye(),
                m.OfRank(0, m.WorkersUp(["0"], 1, 0)),
                m.OfRank(0, m.SchedulerUp("tcp://127.0.0.1:1", "http://nonsense")),
                m.OfRank(0, m.ClientEnded(3, "")),
                m.OfRank(1, m.Signalled(15)),
                m.OfRank(1, m.Failed("saw", "needed", "do", 69)),
                m.OfRank(1, m.AgentGone("is gone")),
                m.OfRank(0, m.Close(0)),
                m.Signalled(15, 1),
                m.Absent(1, "died"),
                m.Gone(0, "its process is gone"),
                m.Starts("tcp://127.0.0.1:1", [0], [0]),
                m.Close(0),
            )
        ]
    ),
    max_size=8,
)


@given(FRAMES, FRAMES)
def test_no_sequence_of_messages_breaks_the_hub(
    one: list[bytes], two: list[bytes]
) -> None:
    troubles: list[object] = []

    async def play(stage: Served) -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: troubles.append(context)
        )
        async with asyncio.timeout(PATIENCE):
            for frames in (one, two):
                channel = await stage.connect()
                for frame in frames:
                    channel._writer.write(  # noqa: SLF001  any payload at all
                        struct.pack(">I", len(frame)) + frame
                    )
                channel.close()
                while await channel.receive() is not None:
                    pass

    playing(2, kind=Served, timeout=PATIENCE)(play)
    assert not troubles


def test_who_has_the_key_and_says_nothing_is_sent_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "HELLO_SECONDS", 0.2)

    async def play(stage: Served) -> None:
        channel = await stage.connect()
        async with asyncio.timeout(PATIENCE):
            assert await channel.receive() is None
        assert stage.said.warnings == [
            f"refused a connection from {LOOPBACK}: no Hello came"
        ]

    playing(2, kind=Served, timeout=PATIENCE)(play)
