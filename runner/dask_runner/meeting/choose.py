"""How the ranks of a launch meet, and which way counts where several are open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError
from dask_runner.meeting.by_file import FileMeeting, file_meeting, node_meeting
from dask_runner.meeting.by_pmi import pmi_meeting
from dask_runner.meeting.file_words import FileWords
from dask_runner.meeting.private import is_child_of_launcher, private_meeting
from dask_runner.meeting.record import NoMeeting, UnusableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from dask_runner.launch.settings import Settings
    from dask_runner.launch.world import World
    from dask_runner.meeting.record import Meeting, Record
    from dask_runner.meeting.words import Words

    ByMpi = Callable[[World, Mapping[str, str], float], Meeting]

#: Rendezvous of launchers of MPI programs, which end all ranks when one fails.
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
        return _with_words(file_meeting(world, environ, file), world, environ)
    if world.size == 1:
        return NoMeeting()
    if world.meeting == "private":
        return _with_words(private_meeting(world, environ, None), world, environ)
    return _under_mpiexec(world, environ, settings, by_mpi)


def _with_words(
    meeting: FileMeeting, world: World, environ: Mapping[str, str]
) -> FileMeeting:
    """Have a rank that fails leave a word, unless the launcher ends all with it."""

    def kept() -> bool:
        return world.meeting == "private" and is_child_of_launcher(environ)

    if world.meeting not in _MPIS:
        meeting.words = FileWords(meeting, world.key, world.size, kept)
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
    """No way at all."""

    async def publish(self, record: Record) -> None:
        """Say so."""
        del record
        raise UnusableError("--mpi-tasks leaves MPI to the tasks")

    async def records(self) -> AsyncIterator[Record]:
        """Say so."""
        raise UnusableError("--mpi-tasks leaves MPI to the tasks")
        yield  # a generator


class FirstUsable:
    """Several ways, of which the first that is open counts.

    All ranks come to the same choice, because they run the same image under the
    same launcher.

    Parameters
    ----------
    ways : sequence of Meeting
        In the order in which they are tried; each but the last may raise
        :class:`UnusableError`.
    launcher : str
        For the message where none is open.
    """

    def __init__(self, ways: Sequence[Meeting], launcher: str) -> None:
        self._ways = tuple(ways)
        self._launcher = launcher
        self._reasons: list[str] = []

    @property
    def words(self) -> Words:
        """Those of the way that counts."""
        return self._chosen.words

    @property
    def has_come(self) -> bool:
        """Whether it has brought the record."""
        return self._chosen.has_come

    @property
    def collective(self) -> bool:
        """Whether one of them may need every rank."""
        return any(way.collective for way in self._ways)

    async def publish(self, record: Record) -> None:
        """Publish it in the first way that is open.

        Raises
        ------
        ConfigError
            If none is.
        """
        while True:
            try:
                await self._chosen.publish(record)
            except UnusableError as error:
                self._give_up(error)
            else:
                return

    async def records(self) -> AsyncIterator[Record]:
        """Look for it in the first way that is open.

        Raises
        ------
        ConfigError
            If none is.
        """
        while True:
            try:
                async for record in self._chosen.records():
                    yield record
            except UnusableError as error:
                self._give_up(error)

    @property
    def files(self) -> tuple[str, ...]:
        """Where the record is, if in files."""
        return self._chosen.files

    async def settle(self) -> None:
        """Wait until nothing is under way in those that were tried."""
        for way in self._ways[: len(self._reasons) + 1]:
            await way.settle()

    def adopt(self, record: Record) -> None:
        """Answer for the record of a rank 0 that is gone."""
        self._chosen.adopt(record)

    def withdraw(self) -> None:
        """Leave nothing behind."""
        self._chosen.withdraw()

    @property
    def trouble(self) -> str:
        """What was seen last, and why the ways before were not taken."""
        return "; ".join([self._chosen.trouble, *self._reasons])

    @property
    def _chosen(self) -> Meeting:
        return self._ways[min(len(self._reasons), len(self._ways) - 1)]

    def _give_up(self, error: UnusableError) -> None:
        self._reasons.append(str(error))
        if len(self._reasons) == len(self._ways):
            raise ConfigError(
                f"{self._launcher} started this, and {'; '.join(self._reasons)}",
                "a way for the ranks to meet: the launcher's own, an MPI of its "
                "family, or a file",
                "name a file on a file system that all nodes share: "
                "--scheduler-file FILE; or start with the mpiexec of the image's MPI",
            ) from error
