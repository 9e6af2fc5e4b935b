"""The packages that a cluster has beside the image's, as its ranks are told of them.

Rank 0's node resolves them while the ranks meet. No worker starts before they are
there.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from dask_runner.hub import messages as m
from dask_runner.hub.ending import later

if TYPE_CHECKING:
    from dask_runner.hub.ending import Ending
    from dask_runner.hub.members import Member
    from dask_runner.hub.report import Reporter
    from dask_runner.hub.roster import Roster
    from dask_runner.launch.settings import Requested

#: Seconds between two lines that say what all ranks wait for.
TELLS_SECONDS = 20.0


class AddedPackages:
    """The packages of one cluster, from their resolution on.

    Parameters
    ----------
    requested : Requested
    roster : Roster
    report : Reporter
        Prints for the user.
    ending : Ending
        Says whether the cluster ends.
    """

    def __init__(
        self, requested: Requested, roster: Roster, report: Reporter, ending: Ending
    ) -> None:
        self._requested = requested
        self._roster = roster
        self._report = report
        self._ending = ending
        self._archive = m.Packages("", "")
        self._pending = bool(requested)
        self._came = 0.0

    def resolving(self) -> None:
        """Note that the cache does not have them."""
        self._report.note(f"resolving {_many(self._number, 'requirement')}")
        began = asyncio.get_running_loop().time()
        later(TELLS_SECONDS, self._tell, began)

    @property
    def _number(self) -> int:
        return len(self._requested.lines) + len(self._requested.files)

    def _tell(self, began: float) -> None:
        if not self._pending or self._ending.status is not None:
            return
        seconds = asyncio.get_running_loop().time() - began
        self._report.note(
            f"rank 0 resolves {_many(self._number, 'requirement')}, {seconds:.0f} s so "
            "far"
        )
        later(TELLS_SECONDS, self._tell, began)

    def found(self, archive: m.Packages, number: int, seconds: float) -> None:
        """Tell all ranks where the packages are.

        Parameters
        ----------
        archive : Packages
        number : int
            How many there are.
        seconds : float
            How long it took to make the archive; 0 if it was there.
        """
        self._pending, self._archive = False, archive
        self._came = asyncio.get_running_loop().time()
        how = f"resolved in {seconds:.1f} s" if seconds else "from the cache"
        self._report.note(f"{_many(number, 'package')} beside the image's, {how}")
        for member in self._roster.members:
            member.tell(archive)

    def joined(self, member: Member) -> None:
        """Tell a rank that has just joined where the packages are.

        A rank of a join is told in any case, as it has no such option itself.
        """
        if not self._pending and (self._archive.path or member.join):
            member.tell(self._archive)

    @property
    def archive(self) -> m.Packages:
        """Where they are, once they are there."""
        return self._archive

    def left(self, timeout: float) -> float:
        """Return the seconds that ranks have for what they do once these are there."""
        if self._pending:
            return timeout
        since = asyncio.get_running_loop().time() - self._came
        return max(0.0, timeout - since) if self._archive.path else 0.0


def _many(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
