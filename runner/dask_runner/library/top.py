"""A rank's top process for the library's way in, below the user's process.

The user's process may be busy for minutes without giving up the interpreter, so
the hub and the lifelines live here. Gets ``RunTop``; relays the record where the
process above carries it; says ``Ready`` and ``Close``; its exit status is the rank's.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

from dask_runner.errors import RunnerError
from dask_runner.hub import messages as m
from dask_runner.hub.report import say
from dask_runner.launch.launch import Launch
from dask_runner.launch.settings import Setting, Settings
from dask_runner.library.instructions import RunTop
from dask_runner.meeting.choose import choose
from dask_runner.meeting.record import RelayMeeting
from dask_runner.node.events import Source
from dask_runner.node.exits import Ended
from dask_runner.node.launcher_child import ThisProcess
from dask_runner.node.mpi_broadcast import mpi_meeting
from dask_runner.node.rank import Rank
from dask_runner.programs import lifeline

if TYPE_CHECKING:
    from dask_runner.hub.channel import Channel
    from dask_runner.node.events import Event


class Above:
    """The user's process, as its rank sees it."""

    def __init__(self, channel: Channel, events: asyncio.Queue[Event]) -> None:
        self._channel = channel
        self._events = events
        self._relays: asyncio.Queue[m.Relay] = asyncio.Queue()
        self._over = asyncio.Event()
        self.pid = os.getppid()
        self.why = ""

    async def listen(self) -> None:
        """Turn what it says into events."""
        while (message := await self._channel.receive()) is not None:
            if isinstance(message, m.Relay):
                await self._relays.put(message)
                continue
            if isinstance(message, m.ClientEnded):
                self._over.set()
            await self._events.put((Source.above, message))
        self._over.set()
        await self._events.put((Source.above, Ended(0)))

    async def hand_over(self, text: str | None) -> str:
        """Let it broadcast the record."""
        self._channel.send(m.Relay(text or ""))
        return (await self._relays.get()).record

    @property
    def running(self) -> bool:
        """Whether it is there and in the body of the ``with``."""
        return not self._over.is_set()

    def send(self, message: m.Message) -> None:
        """Send it a message."""
        self._channel.send(message)

    def signal(self, number: int) -> None:
        """Send it a signal, unless it has gone on by itself."""
        if self.running and os.getppid() == self.pid:
            os.kill(self.pid, number)

    async def stop(self, patience: float, *, ask: m.Message | None) -> None:
        """Ask it to leave the body; after *patience* end it."""
        if not self.running:
            return
        self._channel.send(ask or m.Close(0))
        try:
            async with asyncio.timeout(patience):
                await self._over.wait()
        except TimeoutError:
            self.signal(9)


async def _play() -> int:
    channel = await lifeline.channel()
    run = await lifeline.expect(channel, RunTop)
    events: asyncio.Queue[Event] = asyncio.Queue()
    above = Above(channel, events)
    listening = asyncio.create_task(above.listen())
    settings = Settings({key: Setting(v, "call") for key, v in run.settings.items()})
    launch = Launch(
        run.world,
        run.plan,
        settings,
        os.environ,
        scheduler_options=run.scheduler_options,
        worker_options=run.worker_options,
        worker_name=run.worker_name,
        script=run.script,
        scheduler_address=run.scheduler_address,
    )
    if run.relay:
        meeting: Any = RelayMeeting(above.hand_over)
    else:
        meeting = choose(run.world, os.environ, settings, mpi_meeting)
    status = await Rank(launch, meeting, events, ThisProcess(), above).run()
    listening.cancel()
    return status


def main() -> int:
    """Play the rank; return its status."""
    try:
        return asyncio.run(_play())
    except RunnerError as error:
        say(f"error: {error}")
        return error.status


if __name__ == "__main__":
    sys.exit(main())
