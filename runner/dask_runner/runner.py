"""The pipeline, for the command line: environ → World → Plan → cluster → status."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

from dask_runner import guard, local, roles, surroundings
from dask_runner.file_meeting import FileMeeting, file_meeting
from dask_runner.file_words import FileWords
from dask_runner.hosting import Host
from dask_runner.launch import Launch
from dask_runner.launched import ThisProcess
from dask_runner.launchers import detect
from dask_runner.rank import Rank
from dask_runner.rendezvous import NoMeeting
from dask_runner.ways import under_mpiexec
from dask_runner.world import World

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dask_runner.follower import Beside
    from dask_runner.launch import Program
    from dask_runner.rendezvous import Meeting
    from dask_runner.settings import Settings

#: Rendezvous of launchers of MPI programs, which end all ranks when one fails.
_MPIS = ("mpi", "pmi")


def run(
    program: Program,
    settings: Settings,
    environ: Mapping[str, str],
    args: Sequence[str],
    beside: Beside,
) -> int:
    """Play this process's part in the cluster; return its exit status.

    Parameters
    ----------
    program : Program
        What the client runs.
    settings : Settings
    environ : mapping
    args : sequence of str
        The arguments of ``dask-runner``, for ranks that it starts itself and for
        messages.
    beside : Beside
        What this process has to do with the other ranks of its node.
    """
    world = detect(environ, settings.launcher, args)
    if world is None and (settings.nranks or 1) > 1:
        client = roles.plan(settings.nranks, settings.layout).client
        assert client is not None  # noqa: S101  every layout has one
        opened = {client: program.descriptors}
        ranks = local.launch(settings.nranks, settings, args, environ, opened)
        return asyncio.run(ranks)
    if world is None:
        if settings.launcher == "auto" and settings.nranks is None:
            guard.refuse_lost_launcher(environ, surroundings.look(environ))
        world = alone()
        beside.leader = None  # it is not of that launch
    plan = roles.plan(world.size, settings.layout)
    launch = Launch(world, plan, settings, environ, program)
    return asyncio.run(_live(launch, args, beside))


async def _live(launch: Launch, args: Sequence[str], beside: Beside) -> int:
    meeting = choose_meeting(launch.world, launch.environ, launch.settings)
    leader = None
    if beside.leader is not None:
        leader = socket.socket(fileno=beside.leader.detach())
        beside.leader = None
    rank = Rank(launch, meeting, asyncio.Queue(), ThisProcess(leader))
    if beside.door is None:
        return await rank.run()
    host = Host(rank, launch, args, collective=meeting.collective)
    host.open(socket.socket(fileno=beside.door.detach()))
    status = None
    try:
        status = await rank.run()
    finally:
        await host.close(status)
    return status


def alone() -> World:
    """Return the World of a process that no launcher started."""
    job = str(os.getpid())
    return World("local", 0, 1, 0, 1, job, f"local-{job}", "private")


def choose_meeting(
    world: World, environ: Mapping[str, str], settings: Settings
) -> Meeting:
    """Choose how the ranks meet: as the user says, else as the launcher's row."""
    file = settings.scheduler_file
    if file or world.rendezvous == "file":
        return _with_words(file_meeting(world, environ, file), world, environ)
    if world.size == 1:
        return NoMeeting()
    if world.rendezvous == "private":
        return _with_words(local.meeting(world, environ, None), world, environ)
    return under_mpiexec(world, environ, settings.timeout, mpi_tasks=settings.mpi_tasks)


def _with_words(
    meeting: FileMeeting, world: World, environ: Mapping[str, str]
) -> FileMeeting:
    """Let ranks that do not meet leave words, unless the launcher ends all with one."""

    def kept() -> bool:
        return world.rendezvous == "private" and local.is_child_of_launcher(environ)

    if world.rendezvous not in _MPIS:
        meeting.words = FileWords(meeting, world.key, world.size, kept)
    return meeting
