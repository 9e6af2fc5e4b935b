"""The rendezvous over MPI, as its top process sees it."""

from __future__ import annotations

import asyncio
import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner import messages as m
from dask_runner.errors import ConfigError
from dask_runner.processes import Ended, Event, Process
from dask_runner.programs.broadcast import UNUSABLE
from dask_runner.rendezvous import Meeting, RelayMeeting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from dask_runner.rendezvous import Record
    from dask_runner.world import World

#: Variables with descriptors by which an MPI library speaks to its launcher.
DESCRIPTORS = ("PMI_FD", "HYDI_CONTROL_FD")

#: Seconds for the ranks' processes to get through MPI_Finalize.
FINALIZE = 10.0

#: What the user can do where MPI and launcher disagree, by launcher.
WAYS_OUT = {
    "slurm": "srun --mpi=pmix (Open MPI) or srun --mpi=pmi2 (MPICH); srun --mpi=list "
    "tells what the site has",
    "openmpi": "start with the mpiexec of the image's MPI family, or use an image of "
    "the family openmpi",
    "hydra": "start with the mpiexec of the image's MPI family, or use an image of "
    "the family mpich",
}


#: Lines of what the MPI library said that the report of its failure shows.
TAIL = 6


class MPIUnusableError(Exception):
    """There is no MPI in this environment, which is no error by itself."""


class BroadcastMeeting:
    """The record travels by an MPI broadcast, or as *otherwise* without MPI.

    Parameters
    ----------
    world : World
    environ : mapping
        With the launcher's variables.
    otherwise : Meeting or None
        How the ranks meet where MPI cannot be used. All ranks come to the same
        choice, because they run the same image.
    """

    def __init__(
        self, world: World, environ: Mapping[str, str], otherwise: Meeting | None
    ) -> None:
        self._world = world
        self._environ = environ
        self._otherwise = otherwise
        self._chosen: Meeting = RelayMeeting(self._broadcast)
        self._process = Process("broadcast", asyncio.Queue())

    async def publish(self, record: Record) -> None:
        """Broadcast the record."""
        try:
            await self._chosen.publish(record)
        except MPIUnusableError as error:
            self._chosen = self._instead(error)
            await self._chosen.publish(record)

    async def records(self) -> AsyncIterator[Record]:
        """Receive the broadcast."""
        try:
            async for record in self._chosen.records():
                yield record
        except MPIUnusableError as error:
            self._chosen = self._instead(error)
            async for record in self._chosen.records():
                yield record

    async def settle(self) -> None:
        """Let the process of the broadcast end by itself.

        It is in MPI_Finalize, which waits for the other ranks; a rank that does
        not get through it is a failure to the launcher, which ends the job.
        """
        await self._process.wait(FINALIZE)

    def adopt(self, record: Record) -> None:
        """Answer for the record of a rank 0 that is gone."""
        self._chosen.adopt(record)

    def withdraw(self) -> None:
        """Leave nothing behind."""
        self._chosen.withdraw()

    @property
    def trouble(self) -> str:
        """What was seen last."""
        return self._chosen.trouble

    def _instead(self, error: MPIUnusableError) -> Meeting:
        if self._otherwise is None:
            raise ConfigError(
                f"{self._world.launcher} started this, and {error}",
                "an MPI for mpi4py to find, or a file by which the ranks can meet",
                "name a file on a shared file system with --scheduler-file FILE",
            ) from error
        return self._otherwise

    async def _broadcast(self, text: str | None) -> str:
        if importlib.util.find_spec("mpi4py") is None:
            raise MPIUnusableError("mpi4py is not installed")
        events: asyncio.Queue[Event] = asyncio.Queue()
        self._process = Process("broadcast", events)
        # What the MPI library prints would come once from each rank.
        with os.fdopen(os.memfd_create("broadcast"), "rb") as words:
            await self._process.start(
                # mpi4py would warn of what is an error here.
                {**self._environ, "MPI4PY_CHECK_MPIEXEC": "0"},
                f"/proc/self/fd/{words.fileno()}",
                pass_fds=(*_descriptors(self._environ), words.fileno()),
            )
            self._process.send(m.Run({"text": text or "", "size": self._world.size}))
            _, answer = await events.get()
            said = words.read().decode(errors="replace").splitlines()
        if isinstance(answer, m.Relay):
            return answer.record
        if isinstance(answer, m.Failed) and answer.status == UNUSABLE:
            raise MPIUnusableError(answer.saw)
        saw, needed = (
            "the MPI broadcast failed",
            "an MPI that starts under its launcher",
        )
        if isinstance(answer, m.Failed):
            saw, needed = answer.saw, answer.needed
        elif isinstance(answer, Ended):
            saw = f"the process of the MPI broadcast {answer}"
        saw += "".join(f"\n  | {line}" for line in said[-TAIL:])
        raise ConfigError(
            saw,
            needed,
            WAYS_OUT.get(self._world.launcher, "use an image of the launcher's family")
            + "; or let the ranks meet without MPI: --scheduler-file FILE",
        )


def _descriptors(environ: Mapping[str, str]) -> list[int]:
    found = []
    for name in DESCRIPTORS:
        text = environ.get(name, "")
        if text.isdecimal() and Path(f"/proc/self/fd/{text}").exists():
            found.append(int(text))
    return found
