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
        self._unpacking: asyncio.Task[str] | None = None

    @property
    def _place(self) -> RankDirectory:
        if self.directory is None:
            raise LookupError("the node has no directory for packages yet")
        return self.directory

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
        answer = await _ask(run, self._place, begins)
        if not isinstance(answer, n.Built):
            raise _failed(answer, self._place)
        return answer

    def begin(self, archive: m.Packages) -> None:
        """Unpack an archive, if there is one and that has not begun."""
        if self._unpacking is None and archive.path:
            self._unpacking = asyncio.create_task(_unpack(archive, self._place))

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


async def _unpack(archive: m.Packages, directory: RankDirectory) -> str:
    into = str(directory.path / _UNPACKED)
    run = UnpackPackages(archive.path, archive.key, into)
    answer = await _ask(run, directory)
    if not isinstance(answer, n.Unpacked):
        raise _failed(answer, directory)
    return into


async def _ask(
    run: Message, directory: RankDirectory, begins: Callable[[], None] | None = None
) -> object:
    """Have a process do it; return its answer, or how it has ended without one."""
    events: asyncio.Queue[Event] = asyncio.Queue()
    process = Process(Source.packages, events)
    try:
        await process.start(directory.environment(), directory.log(Source.packages))
        process.send(run)
        while isinstance(answer := (await events.get())[1], n.Resolving):
            if begins is not None:
                begins()
    except asyncio.CancelledError:
        # SIGTERM may come from a launcher, to all processes, and is the rank's.
        process.signal(signal.SIGHUP)
        raise
    finally:
        await process.wait(PATIENCE_SECONDS)
    return answer


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
