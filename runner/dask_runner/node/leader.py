"""The leader of a node plays for its followers.

A follower (:mod:`dask_runner.node.follower`) introduces itself. If the leader can do
everything that the follower would do itself, it plays for the follower: it runs another
:class:`~dask_runner.node.rank.Rank` in this process, with the follower's World and
environment, the node's connection to the hub, and workers from the node's agent. It
sends all other ranks away, which then play for themselves, each a node of one rank.

In both cases the connection stays open. It shows the leader that the rank has died
before it joined, which only the leader can report.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self, cast

from dask_runner.errors import RunnerError
from dask_runner.hub import messages as m
from dask_runner.hub.channel import Channel
from dask_runner.hub.messages import ProtocolError
from dask_runner.hub.report import marked
from dask_runner.launch.detect import detect
from dask_runner.launch.options import PREFIX
from dask_runner.launch.plan import Role
from dask_runner.linux import peer
from dask_runner.node import follower
from dask_runner.node.agent_socket import Place, guests, home, of_this_user
from dask_runner.node.contact import SharedContact
from dask_runner.node.launcher_child import Follower, failed
from dask_runner.node.rank import Rank
from dask_runner.resources.machine import take
from dask_runner.resources.open_files import allow_many_files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dask_runner.launch.launch import Launch
    from dask_runner.launch.world import World
    from dask_runner.node.rank import Substitute
    from dask_runner.resources.machine import Snapshot

#: Bytes of an introduction; the kernel limits environment and arguments together to
#: 6 MiB (execve(2)).
LARGEST = 8 << 20
#: Seconds for an introduction to arrive, once a follower has connected.
INTRODUCTION_SECONDS = 10.0
#: Seconds for the followers to leave once the leader has.
LEAVE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Introduction:
    """A follower's description of itself.

    Attributes
    ----------
    version, executable : str
        This package's version, and the interpreter.
    identities : tuple of str
        Device and inode of its working directory and of shared files
        (:data:`dask_runner.node.follower.SHARED`).
    directory : str
        Its working directory.
    args : tuple of str
        The arguments of ``dask-runner``.
    environ : mapping
        Its environment.
    """

    version: str
    executable: str
    identities: tuple[str, ...]
    directory: str
    args: tuple[str, ...]
    environ: Mapping[str, str]

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Read the bytes that :func:`dask_runner.node.follower.introduce` has made.

        Raises
        ------
        ProtocolError
            If they are no introduction.
        """
        try:
            version, executable, *fields, end = map(os.fsdecode, data.split(b"\0"))
            paths = 1 + len(follower.SHARED)
            identities, (directory, count, *rest) = fields[:paths], fields[paths:]
            args, variables = rest[: int(count)], rest[int(count) :]
            environ = dict(variable.split("=", 1) for variable in variables)
        except ValueError as error:
            raise ProtocolError("no introduction of a follower") from error
        if end or len(args) != int(count):
            raise ProtocolError("half an introduction of a follower")
        return cls(
            version, executable, tuple(identities), directory, tuple(args), environ
        )


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
        self._collective = collective
        self._own = Introduction.read(follower.introduce(args))
        self._ranks: set[int] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._followers: dict[asyncio.Task[None], Follower] = {}
        self._others: dict[asyncio.Task[None], Channel] = {}

    def open(self, door: socket.socket) -> None:
        """Start to accept followers."""
        self._door = door
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
        with self._door:
            if status is not None:
                self._turn_away(status)
                if not self._leader.contact.has_met:
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
        while True:
            try:
                connected, _ = self._door.accept()
            except OSError:
                return  # no follower waits any more
            with connected:
                if of_this_user(connected):
                    connected.setblocking(False)
                    _last_line(connected, f"{follower.END} {status}")

    async def _listen(self) -> None:
        async for sock in guests(self._door):
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
                introduction = await _introduction(reader)
            except (ProtocolError, OSError):
                # It is no rank, or it has ended, or it stands still.
                writer.write(f"{follower.APART}\n".encode())
                return
            world = self._world(introduction)
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
        deciding = asyncio.create_task(self._decide(world, introduction, process.pid))
        try:
            await asyncio.wait(
                {deciding, process.left}, return_when=asyncio.FIRST_COMPLETED
            )
            if not process.left.done():
                if (snapshot := deciding.result()) is not None:
                    await self._play(world, introduction, process, snapshot)
                    return
                process.send_away()
                channel.send(m.Leads(self._launch.world.rank))
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

    def _world(self, introduction: Introduction) -> World | None:
        """Return the follower's World, if it belongs to the leader's launch."""
        own = self._launch.world
        try:
            world = detect(
                introduction.environ, self._launch.settings.launcher, introduction.args
            )
        except RunnerError:
            return None  # the rank will report this error itself
        alike = world is not None and (
            (world.launcher, world.key, world.size, world.local_size)
            == (own.launcher, own.key, own.size, own.local_size)
        )
        return world if alike else None

    def _why_not(
        self, introduction: Introduction, world: World, substitute: Substitute
    ) -> str:
        """Return why the leader cannot play for a follower; empty if it can."""
        own, launch, theirs = self._own, self._launch, introduction.environ
        objections = (
            (self._collective, "each rank has to come to the meeting itself"),
            (
                replace(introduction, environ={}) != replace(own, environ={}),
                "another program, or other directories",
            ),
            (
                home(world, theirs) != substitute.home,
                "variables that act before a process begins",
            ),
            (_options(theirs) != _options(own.environ), "other options"),
            (
                launch.plan.roles(world.rank) != frozenset({Role.worker}),
                "it has more to do than to work",
            ),
            (not launch.settings.nanny, "workers without a nanny"),
        )
        return next((why for objects, why in objections if objects), "")

    async def _decide(
        self, world: World, introduction: Introduction, pid: int
    ) -> Snapshot | None:
        """Return the machine as a follower sees it; None to send it away."""
        substitute = await self._leader.stands_in()
        if substitute is None or not pid:
            return None
        if self._why_not(introduction, world, substitute):
            return None
        directory = self._launch.settings.local_directory
        try:
            snapshot = take(introduction.environ, directory, pid=pid)
        except OSError:
            return None  # it has ended, which its connection shows
        if _place(snapshot, substitute).why_not(substitute.place):
            return None
        return snapshot

    async def _play(
        self,
        world: World,
        introduction: Introduction,
        process: Follower,
        snapshot: Snapshot,
    ) -> None:
        allow_many_files()
        process.hold(self._last_words(world))
        # In the leader's, so that one removal takes both.
        process.scratch = str(self._leader.directory)
        launch = replace(self._launch, world=world, environ=introduction.environ)
        contact = SharedContact(world.rank, self._leader.contact)
        rank = Rank(launch, snapshot, contact, asyncio.Queue(), process)
        status = await rank.run()
        if process.running:
            process.end(status)
            await process.gone()
        elif not process.has_joined and process.left.result() is None:
            self._died(world.rank)

    def _last_words(self, world: World) -> str:
        """Return the line that a follower prints if the leader is lost."""
        if self._launch.world.rank != 0 or world.local_rank != 1:
            return ""  # rank 0 or another follower prints it
        node = socket.gethostname()
        return marked(f"error: rank {world.rank} on {node} lost the hub (rank 0)")


def _this_task() -> asyncio.Task[None]:
    return cast("asyncio.Task[None]", asyncio.current_task())


def _last_line(sock: socket.socket, line: str) -> None:
    try:
        sock.send(f"{line}\n".encode())
    except OSError:
        return  # the follower has ended


def _place(snapshot: Snapshot, substitute: Substitute) -> Place:
    return Place.of(snapshot, Path(substitute.place.private))


def _options(environ: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in environ.items() if k.startswith(PREFIX)}


async def _introduction(reader: asyncio.StreamReader) -> Introduction:
    try:
        async with asyncio.timeout(INTRODUCTION_SECONDS):
            length = int.from_bytes(await reader.readexactly(follower.LENGTH))
            if length > LARGEST:
                raise ProtocolError(f"an introduction of {length} bytes")
            return Introduction.read(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, TimeoutError) as error:
        raise ProtocolError("half an introduction") from error
