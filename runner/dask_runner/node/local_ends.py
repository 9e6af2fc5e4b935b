"""How ``dask-runner -n``, as the launcher, reports the ends of its ranks.

The hub sees the end of a rank that has joined. A rank that fails before it joins leaves
a notice for the others; if it was killed, its launcher leaves the notice.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import TYPE_CHECKING

from dask_runner.errors import AssemblyError, RunnerError, SignalledError
from dask_runner.hub.report import say
from dask_runner.meeting.file_notices import FileNotices
from dask_runner.meeting.notice import Notice
from dask_runner.node.exits import Ended

if TYPE_CHECKING:
    from dask_runner.launch.settings import Settings
    from dask_runner.launch.world import World
    from dask_runner.meeting.by_file import FileMeeting

#: Signals that ask a rank to end.
ASKS = (signal.SIGTERM, signal.SIGINT)

#: Seconds between checks for the record.
CHECK_SECONDS = 0.05


def ended_early(rank: int, size: int, ended: Ended) -> RunnerError:
    """Return what the end of a rank of this machine means before the ranks have met.

    Parameters
    ----------
    rank, size : int
    ended : Ended
        How the rank has ended.
    """
    name = f"rank {rank} on {socket.gethostname()}"
    when = "before the ranks had met"
    if (number := ended.shell_status - 128) in ASKS:
        return SignalledError(name, number, when)
    error = RunnerError(
        f"{name} {ended} {when}",
        f"all {size} ranks",
        "look for its own error above, or in the kernel's log (dmesg)",
    )
    killed = ended.status < 0 and rank
    error.status = AssemblyError.status if killed else ended.shell_status
    return error


def tell(error: RunnerError) -> None:
    """Print why the ranks do not meet."""
    say(error if isinstance(error, SignalledError) else f"error: {error}")


class LocalEnds:
    """Reports the end of a rank to the others, where it ends all of them.

    Parameters
    ----------
    world : World
        The World of any rank.
    meeting : FileMeeting
        How they meet.
    settings : Settings
    joins : bool
        Whether they join a running cluster, so that none of them waits for the others.

    Attributes
    ----------
    passed_on : set of int
        Signals that the launcher has forwarded to all ranks.
    over : asyncio.Event
        Set when rank 0 has ended, or a rank before the ranks had met.
    status : int
        The status of the launch, once it is over.
    """

    def __init__(
        self,
        world: World,
        meeting: FileMeeting,
        settings: Settings,
        *,
        joins: bool = False,
    ) -> None:
        self._world = world
        self._meeting = meeting
        self._notices = FileNotices(meeting, world.key, world.size, lambda: True)
        self._settings = settings
        self._joins = joins
        self._met = joins
        self.passed_on: set[int] = set()
        self.over = asyncio.Event()
        self.status = 0

    async def watch(self) -> None:
        """Wait until the ranks begin to meet."""
        while not self._has_met():  # noqa: ASYNC110  a file sends no event
            await asyncio.sleep(CHECK_SECONDS)

    def _has_met(self) -> bool:
        self._met = self._met or self._meeting.has_begun()
        return self._met

    def close(self) -> None:
        """Remove the notice: no rank is left that could read it."""
        self._notices.remove()

    async def report(self, rank: int, process: asyncio.subprocess.Process) -> None:
        """Wait for the end of a rank, and report it if need be."""
        ended = Ended(await process.wait())
        if self._has_met() or not ended.status:
            self._after_they_met(rank, ended)
        elif rank == 0 or self._settings.needs_all_ranks:
            self._before_they_met(rank, ended)
        if rank == 0:
            self._is_over(ended.shell_status)

    def _after_they_met(self, rank: int, ended: Ended) -> None:
        if rank:
            needs_all = self._settings.needs_all_ranks and not self._joins
            if ended.status and needs_all:
                # The rank may have failed before it joined; the hub knows.
                error = ended_early(rank, self._world.size, ended)
                self._leave(rank, error, said=False)
        elif ended.status < 0 and -ended.status not in self.passed_on:
            say(f"error: rank 0 on {socket.gethostname()} {ended}")

    def _before_they_met(self, rank: int, ended: Ended) -> None:
        error = ended_early(rank, self._world.size, ended)
        first = self._leave(rank, error, said=True)
        # A rank that ends by itself prints its error; one that was killed cannot. It
        # may have left a notice before.
        if first and ended.status < 0 and not self.over.is_set():
            tell(error)
        self._is_over(error.status)

    def _is_over(self, status: int) -> None:
        if not self.over.is_set():
            self.over.set()
            self.status = status

    def _leave(self, rank: int, error: RunnerError, *, said: bool) -> bool | None:
        here = self._world.key, rank, socket.gethostname()
        notice = Notice.of(error, *here, self._settings.timeout, said=said)
        return self._notices.leave(notice)
