"""A rank's top process in the library's way in: a child of the user's process.

The user's process may compute for minutes without releasing the interpreter lock, so
the hub and the lifelines run here. The top process receives ``RunTop``, and sends
``Placed``, where its rank was not known, ``Ready`` and ``Close``. It passes the record
to the user's process where that one broadcasts it. Its exit status is the rank's.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Any

from dask_runner.errors import RunnerError
from dask_runner.hub import messages as m
from dask_runner.hub.report import say
from dask_runner.launch.launch import Launch
from dask_runner.launch.settings import Setting, Settings
from dask_runner.library.instructions import RunTop
from dask_runner.meeting.choose import choose
from dask_runner.meeting.relay import RelayMeeting
from dask_runner.node import messages as n
from dask_runner.node import node_socket
from dask_runner.node.agent_sharing import AgentSharing
from dask_runner.node.events import Source
from dask_runner.node.exits import Ended
from dask_runner.node.follower import Beside
from dask_runner.node.handing_out import hand_out
from dask_runner.node.launcher_child import ThisProcess
from dask_runner.node.mpi_broadcast import mpi_meeting
from dask_runner.node.own_contact import OwnContact
from dask_runner.node.rank import Rank
from dask_runner.node.run_rank import run_rank
from dask_runner.programs import lifeline
from dask_runner.resources.machine import take
from dask_runner.wire import threads

if TYPE_CHECKING:
    from dask_runner.node.events import Event
    from dask_runner.wire.channel import Channel
    from dask_runner.wire.message import Message


class UserProcess:
    """The user's process, as its rank sees it."""

    def __init__(self, channel: Channel, events: asyncio.Queue[Event]) -> None:
        self._channel = channel
        self._events = events
        self._relays: asyncio.Queue[n.Relay] = asyncio.Queue()
        self._over = asyncio.Event()
        self.pid = os.getppid()
        self.why = ""

    async def listen(self) -> None:
        """Put the messages of the user's process into the queue of events."""
        while (message := await self._channel.receive()) is not None:
            if isinstance(message, n.Relay):
                await self._relays.put(message)
                continue
            if isinstance(message, m.ClientEnded):
                self._over.set()
            await self._events.put((Source.above, message))
        self._over.set()
        await self._events.put((Source.above, Ended(0)))

    async def hand_over(self, text: str | None) -> str:
        """Have the user's process broadcast the record; return the record."""
        self._channel.send(n.Relay(text or ""))
        return (await self._relays.get()).record

    @property
    def running(self) -> bool:
        """Whether the body of the ``with`` runs."""
        return not self._over.is_set()

    def send(self, message: Message) -> None:
        """Send a message to the user's process."""
        self._channel.send(message)

    def signal(self, number: int) -> None:
        """Send a signal to the user's process, if it is in the body."""
        if self.running and os.getppid() == self.pid:
            os.kill(self.pid, number)

    async def stop(self, patience: float, *, ask: Message | None) -> None:
        """Ask the user's process to leave the body; kill it after *patience*."""
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
    user = UserProcess(channel, events)
    listening = asyncio.create_task(user.listen())
    settings = Settings({key: Setting(v, "call") for key, v in run.settings.items()})
    world, at_desk = run.world, None
    if run.asked is not None:
        known = world if run.counted else None
        handed = await hand_out(run.asked, settings, os.environ, known)
        world, at_desk = handed.world, handed.meeting
        channel.send(n.Placed(world.rank))
    launch = Launch(
        world,
        run.plan,
        settings,
        os.environ,
        scheduler_options=run.scheduler_options,
        worker_options=run.worker_options,
        worker_name=run.worker_name,
        script=run.script,
        scheduler_address=run.scheduler_address,
    )
    meeting: Any = at_desk
    if run.relay:
        meeting = RelayMeeting(user.hand_over)
    elif at_desk is None:
        meeting = choose(world, os.environ, settings, mpi_meeting)
    contact = OwnContact(launch, meeting, socket.gethostname())
    snapshot = take(os.environ, settings.local_directory)
    beside = Beside()
    node_socket.claim_late(beside, world)
    sharing = AgentSharing.of(launch, beside)
    rank = Rank(launch, snapshot, contact, events, ThisProcess(), sharing, user)
    if at_desk is not None:
        at_desk.listen(rank.hear)
    # The user's process comes to the meeting in each rank, so nobody plays for another.
    status = await run_rank(rank, launch, (), beside, collective=True)
    listening.cancel()
    return status


def main() -> int:
    """Run the rank; return its exit status."""
    try:
        return threads.run(_play())
    except RunnerError as error:
        if not error.printed:
            say(f"error: {error}")
        return error.status
