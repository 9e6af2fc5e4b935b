"""How the ranks of a launch meet, and which way counts where several are open."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dask_runner.meeting.base import NoMeeting, UnusableError
from dask_runner.meeting.by_file import FileMeeting, file_meeting, node_meeting
from dask_runner.meeting.by_pmi import pmi_meeting
from dask_runner.meeting.file_notices import FileNotices
from dask_runner.meeting.first_usable import FirstUsable
from dask_runner.meeting.private import launcher, private_meeting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from dask_runner.launch.settings import Settings
    from dask_runner.launch.world import World
    from dask_runner.meeting.base import Meeting
    from dask_runner.meeting.record import Record

    ByMpi = Callable[[World, Mapping[str, str], float], Meeting]

#: Ways to meet under launchers of MPI programs, which end all ranks when one fails.
_MPIS = ("mpi", "pmi")


def choose(
    world: World, environ: Mapping[str, str], settings: Settings, by_mpi: ByMpi
) -> Meeting:
    """Choose how the ranks meet: as the user says, else as the launcher's row.

    Parameters
    ----------
    world : World
    environ : mapping
    settings : Settings
    by_mpi : callable
        Makes the meeting by an MPI broadcast, which takes a process of its own.
    """
    file = settings.scheduler_file
    if file or world.meeting == "file":
        return _with_notices(file_meeting(world, environ, file), world, environ)
    if world.size == 1:
        return NoMeeting()
    if world.meeting == "private":
        return _with_notices(private_meeting(world, environ, None), world, environ)
    return _under_mpiexec(world, environ, settings, by_mpi)


def _with_notices(
    meeting: FileMeeting, world: World, environ: Mapping[str, str]
) -> FileMeeting:
    """Have a rank that fails leave a notice, unless the launcher ends all with it."""

    def kept() -> bool:
        return world.meeting == "private" and launcher(environ) == os.getppid()

    if world.meeting not in _MPIS:
        meeting.post_notices(FileNotices(meeting, world.key, world.size, kept))
    return meeting


def _under_mpiexec(
    world: World, environ: Mapping[str, str], settings: Settings, by_mpi: ByMpi
) -> FirstUsable:
    """Return the ways under an mpiexec, the cheap and sure ones first.

    MPI comes where nothing else is known to lead from node to node, and before a
    file whose directory the nodes may not share; but not where MPI is for the tasks
    (``--mpi-tasks``), as a rank can go through MPI_Init once. Only with a key can a
    file be told from another launch's.
    """
    ways: list[Meeting] = []
    seconds, mpi_tasks = settings.timeout, settings.mpi_tasks
    if world.meeting == "pmi":
        ways.append(pmi_meeting(environ, seconds, for_mpi=mpi_tasks))
    if world.key and world.local_size == world.size:
        ways.append(node_meeting(world, environ))
    else:
        if not mpi_tasks:
            ways.append(by_mpi(world, environ, seconds))
        if world.key:
            ways.append(file_meeting(world, environ, None))
    return FirstUsable(ways or [_Closed()], world.launcher)


class _Closed(NoMeeting):
    """No way to meet is left."""

    async def publish(self, record: Record) -> None:
        """Refuse."""
        del record
        raise UnusableError("--mpi-tasks leaves MPI to the tasks")

    async def records(self) -> AsyncIterator[Record]:
        """Refuse."""
        raise UnusableError("--mpi-tasks leaves MPI to the tasks")
        yield  # a generator
