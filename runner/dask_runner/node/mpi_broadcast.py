"""A meeting over MPI, as the top process sees it."""

from __future__ import annotations

import asyncio
import importlib.util
import os
from typing import TYPE_CHECKING

from dask_runner.hub import messages as m
from dask_runner.meeting.base import UnusableError
from dask_runner.meeting.relay import RelayMeeting
from dask_runner.mpi import world as mpi_world
from dask_runner.node import messages as n
from dask_runner.node.child import Process
from dask_runner.node.events import Event, Source
from dask_runner.node.exits import Ended
from dask_runner.node.instructions import RunBroadcast

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_runner.launch.world import World

#: Lines of the MPI library's output that an error shows.
TAIL = 6


class MpiExchange:
    """One MPI broadcast from rank 0, in a process of its own.

    Parameters
    ----------
    world : World
    environ : mapping
        The environment, with the launcher's variables.
    """

    def __init__(self, world: World, environ: Mapping[str, str]) -> None:
        self._world = world
        self._environ = environ
        self._process = Process(Source.broadcast, asyncio.Queue())
        self._done = False

    async def __call__(self, text: str | None) -> str:
        """Send the record's text (rank 0) or receive it (None); return it."""
        if importlib.util.find_spec("mpi4py") is None:
            raise UnusableError("mpi4py is not installed")
        events: asyncio.Queue[Event] = asyncio.Queue()
        self._process = Process(Source.broadcast, events)
        # The MPI library would print its messages once in each rank.
        with os.fdopen(os.memfd_create("broadcast"), "rb") as words:
            await self._process.start(
                # mpi4py would print a warning where this is an error.
                {**self._environ, "MPI4PY_CHECK_MPIEXEC": "0"},
                f"/proc/self/fd/{words.fileno()}",
                pass_fds=(*mpi_world.descriptors(self._environ), words.fileno()),
            )
            self._process.send(RunBroadcast(text or "", self._world.size))
            _, answer = await events.get()
            said = words.read().decode(errors="replace").splitlines()
        self._done = True
        if isinstance(answer, n.Relay):
            return answer.record
        saw = "the MPI broadcast failed"
        if isinstance(answer, m.Failed):
            saw = answer.saw
        elif isinstance(answer, Ended):
            saw = f"the process of the MPI broadcast {answer}"
        raise UnusableError(saw + "".join(f"\n  | {line}" for line in said[-TAIL:]))

    async def finished(self) -> None:
        """Wait until the process of the broadcast has ended by itself.

        It waits for the other ranks in MPI_Finalize. If it were killed there, the
        launcher would take that for a failure and end the job.
        """
        await self._process.wait(mpi_world.FINALIZE if self._done else 0.0)


def mpi_meeting(
    world: World, environ: Mapping[str, str], seconds: float
) -> RelayMeeting:
    """Return a meeting over MPI, with *seconds* until all ranks have come."""
    exchange = MpiExchange(world, environ)
    return RelayMeeting(
        exchange,
        waits=lambda: "the MPI broadcast has not come",
        finished=exchange.finished,
        seconds=seconds,
    )
