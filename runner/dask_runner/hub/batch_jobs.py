"""The batch jobs whose ranks have joined the cluster, or will.

The hub has the list because the programs that submit jobs come and go, and a job waits
for longer than they live. A job whose join has left may be queued again, and join
again. The hub does not ask the batch system, which it may not reach: a program says
which jobs are gone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dask_runner.hub.requests import JobState

if TYPE_CHECKING:
    from dask_runner.hub.requests import TellJobs

#: The jobs that are remembered; the oldest are forgotten first.
MOST = 10_000


def job_number(job_id: str) -> str:
    """Return the number of a batch job, as the command that submits it prints it.

    PBS's variables add the name of its server, and those of an array an index.
    """
    found = re.match(r"\d+", job_id, re.ASCII)
    return found[0] if found else job_id


class BatchJobs:
    """The list."""

    def __init__(self) -> None:
        self._joined: dict[str, bool] = {}

    @property
    def states(self) -> list[JobState]:
        """The jobs that are not gone, in the order in which the hub heard of them."""
        return [JobState(number, joined) for number, joined in self._joined.items()]

    def tell(self, request: TellJobs) -> None:
        """Add jobs, and forget those that are gone."""
        for number in request.submitted:
            # It may have joined already.
            self._joined.setdefault(number, False)
        for number in request.gone:
            self.gone(number)
        self._limit()

    def came(self, number: str) -> None:
        """Note that ranks of a job have joined; *number* is empty if they have none."""
        if number:
            self._joined[number] = True
            self._limit()

    def gone(self, number: str) -> None:
        """Forget a job, if it is one of these."""
        self._joined.pop(number, None)

    def _limit(self) -> None:
        while len(self._joined) > MOST:
            del self._joined[next(iter(self._joined))]
