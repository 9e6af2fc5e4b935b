"""Who has the secret, and talks nonsense or says nothing."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from dask_runner.hub import handshake
from dask_runner.hub import messages as m
from dask_runner.hub import server as hub_module
from dask_runner.hub.cluster import Cluster
from dask_runner.hub.report import Reporter
from dask_runner.hub.server import Hub
from dask_runner.launch import plan
from dask_runner.launch.settings import settle
from dask_runner.launch.world import World
from dask_runner.meeting.record import Record

if TYPE_CHECKING:
    import pytest

LOOPBACK = "127.0.0.1"
PATIENCE = 20.0


class Silent(Reporter):
    """Keeps the warnings, prints nothing."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.said: list[str] = []

    def warn(self, text: str) -> None:
        self.said.append(text)

    def error(self, error: object) -> None:
        self.said.append(str(error))


FRAMES = st.lists(
    st.binary(max_size=64)
    | st.sampled_from(
        [
            m.encode(message)
            for message in (
                m.Hello(0, "c1", local_size=1),
                m.Hello(1, "c1", local_size=0),
                m.Ping(),
                m.Bye(),
                m.WorkersUp(["0"], 1, 0),
                m.SchedulerUp("tcp://127.0.0.1:1", "http://nonsense", "all"),
                m.ClientEnded(3, ""),
                m.Signalled(15),
                m.Failed("saw", "needed", "do", 69),
                m.Start("tcp://127.0.0.1:1", 0, 1),
                m.Close(0),
            )
        ]
    ),
    max_size=8,
)


@given(FRAMES, FRAMES)
def test_no_sequence_of_sealed_messages_breaks_the_hub(
    one: list[bytes], two: list[bytes]
) -> None:
    async def play() -> None:
        report = Silent()
        world = World("slurm", 0, 2, None, None, "1", "slurm.1", "file")
        state = Cluster(
            world,
            plan.make_plan(2, "shared"),
            settle({"timeout": PATIENCE}, {}),
            report,
        )
        hub = Hub(state, report, PATIENCE)
        port = await hub.open(LOOPBACK)
        record = Record("k", "n", "c1", LOOPBACK, port, hub.secret.hex(), "", "")
        troubles: list[object] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: troubles.append(context)
        )
        async with asyncio.timeout(PATIENCE):
            for frames in (one, two):
                channel = await handshake.connect(record, PATIENCE)
                for frame in frames:
                    channel._writer.write(  # noqa: SLF001  any payload at all
                        struct.pack(">I", len(frame))
                        + channel._seals[0](frame)  # type: ignore[index]  # noqa: SLF001
                        + frame
                    )
                channel._writer.write_eof()  # noqa: SLF001
                while await channel.receive() is not None:
                    pass
                await channel.closed()
        await hub.shut()
        assert not troubles

    asyncio.run(play())


def test_who_has_the_secret_and_says_nothing_is_sent_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub_module, "HELLO", 0.2)

    async def play() -> None:
        report = Silent()
        world = World("slurm", 0, 2, None, None, "1", "slurm.1", "file")
        settings = settle({"timeout": PATIENCE}, {})
        state = Cluster(world, plan.make_plan(2, "shared"), settings, report)
        hub = Hub(state, report, PATIENCE)
        port = await hub.open(LOOPBACK)
        record = Record("k", "n", "c1", LOOPBACK, port, hub.secret.hex(), "", "")
        channel = await handshake.connect(record, PATIENCE)
        async with asyncio.timeout(PATIENCE):
            assert await channel.receive() is None
        await channel.closed()
        await hub.shut()
        assert report.said == [f"refused a connection from {LOOPBACK}: no Hello came"]

    asyncio.run(play())
