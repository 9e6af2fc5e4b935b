"""The leader of a node plays for its followers, and lends its agent.

A follower (:mod:`dask_runner.node.follower`) introduces itself. If the leader can do
everything that the follower would do itself, it plays for the follower: it runs another
:class:`~dask_runner.node.rank.Rank` in this process, with the follower's World and
environment, the node's connection to the hub, and workers from the node's agent. It
sends all other ranks away, which then play for themselves, each a node of one rank.
In both cases the connection stays open. It shows the leader that the rank has died
before it joined, which only the leader can report.

A rank that plays for itself asks for the leader's agent over another connection. If the
agent can fork the rank's workers (:mod:`dask_runner.node.admission`), the leader passes
on what the two say.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import closing
from typing import TYPE_CHECKING, cast

from dask_runner.errors import LostError
from dask_runner.hub import messages as m
from dask_runner.hub.report import marked
from dask_runner.linux import peer
from dask_runner.node import follower
from dask_runner.node import messages as n
from dask_runner.node.admission import Admission
from dask_runner.node.agent_sharing import AgentSharing
from dask_runner.node.connection import lost_hub
from dask_runner.node.contact import SharedContact
from dask_runner.node.exits import is_stopped
from dask_runner.node.fork_context import Borrow
from dask_runner.node.introduction import first_words
from dask_runner.node.launcher_child import Follower, failed
from dask_runner.node.node_socket import guests, of_this_user
from dask_runner.node.rank import Rank
from dask_runner.resources.open_files import allow_many_files
from dask_runner.wire.channel import Channel
from dask_runner.wire.message import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dask_runner.launch.launch import Launch
    from dask_runner.launch.world import World
    from dask_runner.node.admission import Playing
    from dask_runner.node.fork_context import ForkContext
    from dask_runner.node.introduction import Introduction

#: Seconds for the followers to leave once the leader has.
LEAVE_SECONDS = 2.0


class Leader:
    """Plays for the followers of a node, where it can.

    Parameters
    ----------
    leader : Rank
        The leader's own rank.
    launch : Launch
        The leader's launch.
    args : sequence of str
        The leader's arguments of ``dask-runner``.
    collective : bool
        Whether each rank has to come to the meeting itself.
    """

    def __init__(
        self, leader: Rank, launch: Launch, args: Sequence[str], *, collective: bool
    ) -> None:
        self._leader = leader
        self._launch = launch
        self._admission = Admission(leader, launch, args, collective=collective)
        self._ranks: set[int] = set()
        self._borrowers: set[int] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._followers: dict[asyncio.Task[None], Follower] = {}
        self._others: dict[asyncio.Task[None], Channel] = {}

    def open(self, listening: socket.socket) -> None:
        """Start to accept ranks."""
        self._socket = listening
        self._listening = asyncio.create_task(self._listen())

    async def close(self, status: int | None) -> None:
        """End the followers, when the leader's own rank has ended.

        Followers that have not joined end with the leader's status. The others have
        their own status from the hub.

        Parameters
        ----------
        status : int or None
            The leader's status; None if it has none, because of a mistake in this
            program.
        """
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        with self._socket:
            if status is not None:
                self._turn_away(status)
                if not self._leader.contact.has_met or status == LostError.status:
                    self._leader.contact.notices.sign(self._ranks)
        known = {
            task for task, process in self._followers.items() if process.has_joined
        }
        self._dismiss(self._serving - known, status)
        if known:
            await asyncio.wait(known, timeout=LEAVE_SECONDS)
        self._dismiss(self._serving, status)
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _dismiss(self, serving: set[asyncio.Task[None]], status: int | None) -> None:
        for task in serving:
            if status is not None and task in self._followers:
                self._followers[task].end(status)
            if status is not None and task in self._others:
                self._others[task].send(m.Close(status))
            task.cancel()

    def _turn_away(self, status: int) -> None:
        """Send the status to followers that wait for an answer."""
        # No more can wait; strangers may come for ever.
        for _ in range(socket.SOMAXCONN):
            try:
                connected, _ = self._socket.accept()
            except OSError:
                return  # no follower waits any more
            with connected:
                if of_this_user(connected):
                    connected.setblocking(False)
                    _last_line(connected, f"{follower.END} {status}")

    async def _listen(self) -> None:
        async for sock in guests(self._socket):
            reader, writer = await asyncio.open_connection(sock=sock)
            task = asyncio.create_task(self._serve(reader, writer))
            self._serving.add(task)
            task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._serving.discard(task)
        self._followers.pop(task, None)
        self._others.pop(task, None)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with closing(writer):
            try:
                introduction = await first_words(reader)
            except (ProtocolError, OSError):
                # It is no rank, or it has ended, or it stands still.
                writer.write(f"{follower.APART}\n".encode())
                return
            if isinstance(introduction, Borrow):
                pid, _ = peer(writer.get_extra_info("socket"))
                await self._lend(introduction.context, Channel(reader, writer), pid)
                return
            world = self._admission.world(introduction)
            if world is None or world.rank in self._ranks:
                writer.write(f"{follower.APART}\n".encode())
                return
            self._ranks.add(world.rank)
            pid, _ = peer(writer.get_extra_info("socket"))
            process = Follower(reader, writer, pid, world.rank, self._leader.hear)
            self._followers[_this_task()] = process
            await self._answer(world, introduction, process, Channel(reader, writer))

    async def _answer(
        self,
        world: World,
        introduction: Introduction,
        process: Follower,
        channel: Channel,
    ) -> None:
        """Play for a follower, or send it away and listen to it."""
        play = self._admission.play(world, introduction, process.pid)
        deciding = asyncio.create_task(play)
        try:
            await asyncio.wait(
                {deciding, process.left}, return_when=asyncio.FIRST_COMPLETED
            )
            if not process.left.done():
                if (playing := deciding.result()) is not None:
                    await self._play(playing, process)
                    return
                process.send_away()
                channel.send(n.Leads(self._launch.world.rank))
                self._others[_this_task()] = channel
                del self._followers[_this_task()]
            byte = await process.left
            if byte == follower.STAYS:
                await self._listen_to(world.rank, channel)
            elif byte is None and not process.tell_early():
                self._died(world.rank)
        finally:
            deciding.cancel()
            process.left.cancel()

    async def _listen_to(self, rank: int, channel: Channel) -> None:
        """Handle a rank's messages before it joins, and its end."""
        said = False
        try:
            while (message := await channel.receive()) is not None:
                said = True
                if isinstance(message, m.Failed):
                    what = message.saw, message.needed, message.do, message.status
                    self._leader.hear(failed(rank, *what))
                elif isinstance(message, m.Signalled):
                    self._leader.hear(m.Signalled(message.number, rank))
        except ProtocolError:
            pass  # it sends garbage, so it counts as lost
        if not said:
            self._died(rank)

    def _died(self, rank: int) -> None:
        """Report a rank that ended without a message; the hub ignores a joined one."""
        self._leader.hear(m.Absent(rank, "died before it joined"))

    async def _lend(self, context: ForkContext, channel: Channel, pid: int) -> None:
        """Pass on what a rank and the agent say, if the agent can fork for the rank.

        A rank that is stopped when the leader ends has no agent to kill it.
        """
        rank, agent = context.world.rank, await self._admission.lend(context)
        if isinstance(agent, str) or rank in self._borrowers:
            why = agent if isinstance(agent, str) else "it has the agent already"
            channel.send(n.Declined(why))
            return
        self._borrowers.add(rank)
        channel.send(n.Lent())
        agent.share(rank, channel.send)
        try:
            while (message := await channel.receive()) is not None:
                agent.say_of(rank, message)
        except ProtocolError:
            return  # it sends garbage, so it counts as lost
        except asyncio.CancelledError:
            if pid and is_stopped(pid):
                os.kill(pid, signal.SIGKILL)
            raise
        finally:
            self._borrowers.discard(rank)
            agent.give_back(rank)

    async def _play(self, playing: Playing, process: Follower) -> None:
        world = playing.launch.world
        allow_many_files()
        process.hold(self._last_words(world))
        # In the leader's, so that one removal takes both.
        scratch = str(self._leader.directory)
        rank = Rank(
            playing.launch,
            playing.snapshot,
            SharedContact(world.rank, self._leader.contact),
            asyncio.Queue(),
            process,
            AgentSharing(
                agent=playing.agent, scratch=scratch, packages=self._leader.packages
            ),
        )
        status = await rank.run()
        if process.running:
            process.end(status)
            await process.gone()
        elif not process.has_joined and process.left.result() is None:
            self._died(world.rank)

    def _last_words(self, world: World) -> str:
        """Return the line that a follower prints if the leader is lost."""
        if not self._launch.has_hub or world.local_rank != 1:
            return ""  # rank 0 or another follower prints it
        return marked(f"error: {lost_hub(world.rank, socket.gethostname(), 'rank 0')}")


def _this_task() -> asyncio.Task[None]:
    return cast("asyncio.Task[None]", asyncio.current_task())


def _last_line(sock: socket.socket, line: str) -> None:
    try:
        sock.send(f"{line}\n".encode())
    except OSError:
        return  # the follower has ended
