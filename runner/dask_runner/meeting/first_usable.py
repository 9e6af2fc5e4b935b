"""Several ways to meet, of which the first that is open counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError
from dask_runner.meeting.base import Meeting, UnusableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from dask_runner.meeting.notice import Notices
    from dask_runner.meeting.record import Record


class FirstUsable(Meeting):
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
        self.collective = any(way.collective for way in ways)

    @property
    def notices(self) -> Notices:
        """Those of the way that counts."""
        return self._chosen.notices

    @property
    def has_come(self) -> bool:
        """Whether it has brought the record."""
        return self._chosen.has_come

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
        """Where this rank may write the record, in any of the ways."""
        return tuple(file for way in self._ways for file in way.files)

    async def finished(self) -> None:
        """Wait until nothing is under way in those that were tried."""
        for way in self._ways[: len(self._reasons) + 1]:
            await way.finished()

    def adopt(self, nonce: str) -> None:
        """Answer for the record of a rank 0 that is gone."""
        self._chosen.adopt(nonce)

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
