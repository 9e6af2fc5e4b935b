"""The leader of a node plays the parts of its followers.

A follower (:mod:`dask_runner.follower`) tells what it is. Where the leader would do
for it what it would do itself, the leader plays its part: a :class:`~dask_runner.
rank.Rank` of its own in this process, with its own link to the hub, its own World
and environment, and the workers from the node's agent. All others are sent away,
and play their parts themselves.
"""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from dask_runner import follower
from dask_runner.errors import RunnerError
from dask_runner.launched import Follower
from dask_runner.launchers import detect
from dask_runner.messages import ProtocolError
from dask_runner.node import Place, home, peer
from dask_runner.options import PREFIX
from dask_runner.processes import allow_many_files
from dask_runner.rank import Rank
from dask_runner.rendezvous import RelayMeeting
from dask_runner.report import marked
from dask_runner.roles import Role
from dask_runner.snapshot import take

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dask_runner.launch import Launch
    from dask_runner.rank import Substitute
    from dask_runner.snapshot import Snapshot
    from dask_runner.world import World

#: Bytes of an introduction; the kernel limits environment and arguments together to
#: 6 MiB (execve(2)).
LARGEST = 8 << 20
#: Seconds for an introduction to arrive, once a follower has connected.
SPEAKS = 10.0
#: Seconds for the followers to leave once the leader has.
LEAVE = 2.0


@dataclass(frozen=True, slots=True)
class Introduction:
    """What a follower says of itself.

    Attributes
    ----------
    version, executable : str
        This package's version, and the interpreter.
    identities : tuple of str
        Device and inode of its working directory and of what is shared
        (:data:`dask_runner.follower.SHARED`).
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
        """Read what :func:`dask_runner.follower.introduce` wrote.

        Raises
        ------
        ProtocolError
            If it is anything else.
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


class Host:
    """Plays the parts of the ranks that can leave them to this one.

    Parameters
    ----------
    leader : Rank
    launch : Launch
        The leader's.
    args : sequence of str
        The leader's arguments of ``dask-runner``.
    collective : bool
        Whether the ranks meet in a way to which each has to come itself.
    """

    def __init__(
        self, leader: Rank, launch: Launch, args: Sequence[str], *, collective: bool
    ) -> None:
        self._leader = leader
        self._launch = launch
        self._collective = collective
        self._own = Introduction.read(follower.introduce(args))
        self._ranks: set[int] = set()
        self._playing: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def open(self, door: socket.socket) -> None:
        """Let the followers come."""
        self._server = await asyncio.start_unix_server(self._welcome, sock=door)

    async def close(self) -> None:
        """See them off, when the leader has played its own part."""
        if self._server is not None:
            self._server.close()
        if self._playing:
            await asyncio.wait(self._playing, timeout=LEAVE)
        for task in self._playing:
            task.cancel()
        await asyncio.gather(*self._playing, return_exceptions=True)

    async def _welcome(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._playing.add(task)
        task.add_done_callback(self._playing.discard)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            pid, uid = peer(writer.get_extra_info("socket"))
            if uid != os.geteuid() or not pid:
                return
            introduction = await _introduction(reader)
            world = self._world(introduction)
            substitute = await self._leader.stands_in()
            if world is None or substitute is None:
                return
            if self._why_not(introduction, world, substitute):
                return
            snapshot = self._look(introduction, pid)
            if _place(snapshot, substitute).why_not(substitute.place):
                return
            self._ranks.add(world.rank)
            allow_many_files()
            process = Follower(reader, writer, pid, snapshot)
            await self._play(world, introduction, process)
        except (ProtocolError, OSError):
            # A stranger, or one that is gone: there is no follower to play for.
            return
        finally:
            writer.close()

    def _world(self, introduction: Introduction) -> World | None:
        """Return the follower's World, if it is of the leader's launch."""
        own = self._launch.world
        try:
            world = detect(
                introduction.environ, self._launch.settings.launcher, introduction.args
            )
        except RunnerError:
            return None  # which it will say itself
        alike = world is not None and (
            (world.launcher, world.key, world.size, world.local_size)
            == (own.launcher, own.key, own.size, own.local_size)
        )
        return world if alike else None

    def _why_not(
        self, introduction: Introduction, world: World, substitute: Substitute
    ) -> str:
        """Say why a follower has to play its part itself; empty if it need not."""
        own, launch, theirs = self._own, self._launch, introduction.environ
        objections = (
            (self._collective, "each rank has to come to the rendezvous itself"),
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
            (world.rank in self._ranks, "it is here already"),
        )
        return next((why for objects, why in objections if objects), "")

    def _look(self, introduction: Introduction, pid: int) -> Snapshot:
        directory = self._launch.settings.local_directory
        return take(introduction.environ, directory, pid=pid)

    async def _play(
        self, world: World, introduction: Introduction, process: Follower
    ) -> None:
        launch = replace(self._launch, world=world, environ=introduction.environ)
        process.accept(self._last_words(world))
        meeting = RelayMeeting(self._hand_over, waits=lambda: self._leader.waits_for)
        rank = Rank(launch, meeting, asyncio.Queue(), process)
        await process.end(await rank.run())

    async def _hand_over(self, text: str | None) -> str:
        del text
        return (await self._leader.record()).dump()

    def _last_words(self, world: World) -> str:
        """Return what a follower says if the leader is lost."""
        if self._launch.world.rank != 0 or world.local_rank != 1:
            return ""  # rank 0 says it, or another follower
        node = socket.gethostname()
        return marked(f"error: rank {world.rank} on {node} lost the hub (rank 0)")


def _place(snapshot: Snapshot, substitute: Substitute) -> Place:
    return Place.of(snapshot, Path(substitute.place.private))


def _options(environ: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in environ.items() if k.startswith(PREFIX)}


async def _introduction(reader: asyncio.StreamReader) -> Introduction:
    try:
        async with asyncio.timeout(SPEAKS):
            length = int.from_bytes(await reader.readexactly(follower.LENGTH))
            if length > LARGEST:
                raise ProtocolError(f"an introduction of {length} bytes")
            return Introduction.read(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, TimeoutError) as error:
        raise ProtocolError("half an introduction") from error
