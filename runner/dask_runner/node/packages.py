"""The packages that the cluster adds to the image's, on one node.

Rank 0's node makes their archive, and every node unpacks it into the private directory
of the rank that leads it, from where all of the node's ranks use it. A process of its
own does both (:mod:`dask_runner.programs.packages`), which can be ended at any time.
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from dask_runner.errors import LostError, RunnerError
from dask_runner.hub import messages as m
from dask_runner.node import messages as n
from dask_runner.node.child import PATIENCE_SECONDS, Process
from dask_runner.node.events import Source
from dask_runner.node.exits import Ended
from dask_runner.node.instructions import BuildPackages, UnpackPackages

if TYPE_CHECKING:
    from collections.abc import Callable

    from dask_runner.launch.settings import Settings
    from dask_runner.node.directory import RankDirectory
    from dask_runner.node.events import Event
    from dask_runner.wire.message import Message

#: The names, in the rank's directory, of what is needed to make the archive and of what
#: was in it.
_SCRATCH, _UNPACKED = "resolving", "packages"


class NodePackages:
    """The packages of one node.

    Attributes
    ----------
    directory : RankDirectory or None
        That of the rank that leads the node, once there is one. All of the node's ranks
        use what is in it, so it has to be there until the last of them has ended.
    """

    def __init__(self) -> None:
        self.directory: RankDirectory | None = None
        self._helper: asyncio.Task[_Helper] | None = None
        self._unpacking: asyncio.Task[str] | None = None

    @property
    def _place(self) -> RankDirectory:
        if self.directory is None:
            raise LookupError("the node has no directory for packages yet")
        return self.directory

    def prepare(self) -> asyncio.Task[_Helper]:
        """Start the process, while the ranks meet: it imports for a while."""
        if self._helper is None:
            self._helper = asyncio.create_task(_started(self._place))
        return self._helper

    async def build(self, settings: Settings, begins: Callable[[], None]) -> n.Built:
        """Make the archive, unless the cache has it.

        Parameters
        ----------
        settings : Settings
        begins : callable
            Is called when the cache does not have it.

        Raises
        ------
        RunnerError
            If that is not possible.
        """
        scratch = str(self._place.path / _SCRATCH)
        run = BuildPackages(settings.packages, settings.package_cache, scratch)
        answer = await (await self.prepare()).ask(run, begins)
        if not isinstance(answer, n.Built):
            raise _failed(answer, self._place)
        return answer

    def begin(self, archive: m.Packages) -> None:
        """Unpack an archive, if there is one and that has not begun."""
        if self._unpacking is None and archive.path:
            self._unpacking = asyncio.create_task(self._unpack(archive))

    async def _unpack(self, archive: m.Packages) -> str:
        into = str(self._place.path / _UNPACKED)
        helper = await self.prepare()
        answer = await helper.ask(UnpackPackages(archive.path, archive.key, into))
        await helper.ended()
        if not isinstance(answer, n.Unpacked):
            raise _failed(answer, self._place)
        return into

    async def there(self) -> str:
        """Wait until they are unpacked; return where, or "" if there are none.

        Raises
        ------
        RunnerError
            If they cannot be unpacked.
        """
        if self._unpacking is None:
            return ""
        # Several ranks wait, and one that ends must not end it for the others.
        return await asyncio.shield(self._unpacking)

    async def end(self) -> None:
        """End what is going on."""
        if self._unpacking is not None:
            self._unpacking.cancel()
            await asyncio.wait([self._unpacking])
        if self._helper is not None:
            await asyncio.wait([self._helper])
            if self._helper.exception() is None:
                await self._helper.result().end()


class _Helper:
    """The process that makes the archive and unpacks it.

    Parameters
    ----------
    process : Process
    events : asyncio.Queue
        Its messages, and its end.
    """

    def __init__(self, process: Process, events: asyncio.Queue[Event]) -> None:
        self._process, self._events = process, events

    async def ask(
        self, run: Message, begins: Callable[[], None] | None = None
    ) -> object:
        """Have it do something; return its answer, or how it has ended without one."""
        self._process.send(run)
        while isinstance(answer := (await self._events.get())[1], n.Resolving):
            if begins is not None:
                begins()
        return answer

    async def ended(self) -> None:
        """Wait until it has ended."""
        await self._process.wait(PATIENCE_SECONDS)

    async def end(self) -> None:
        """End it."""
        # SIGTERM may come from a launcher, to all processes, and is the rank's.
        self._process.signal(signal.SIGHUP)
        await self.ended()


async def _started(directory: RankDirectory) -> _Helper:
    events: asyncio.Queue[Event] = asyncio.Queue()
    process = Process(Source.packages, events)
    await process.start(directory.environment(), directory.log(Source.packages))
    return _Helper(process, events)


def _failed(answer: object, directory: RankDirectory) -> RunnerError:
    if isinstance(answer, m.Failed):
        error = RunnerError(answer.saw, answer.needed, answer.do)
        error.status = answer.status
        return error
    how = answer if isinstance(answer, Ended) else f"said {answer}"
    return LostError(
        f"the process that prepares packages {how}{directory.tail(Source.packages)}",
        "packages that can be prepared",
        "look for what ends it: a limit of memory, another program",
    )
