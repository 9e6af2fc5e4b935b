"""Tells what a run used, computed and lost: a block of lines at its end, and files.

The files are written now and then while the cluster runs, so that there are some where
rank 0 is killed, and for the last time when all ranks have stopped.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError
from dask_runner.hub import end_block, report_files
from dask_runner.hub import messages as m
from dask_runner.hub.figure import figure
from dask_runner.hub.progress import Progress
from dask_runner.hub.run_report import report
from dask_runner.wire.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from dask_runner.hub.history import History
    from dask_runner.hub.report import Reporter
    from dask_runner.hub.report_files import ReportFile
    from dask_runner.hub.roster import Roster
    from dask_runner.launch.plan import Plan
    from dask_runner.launch.settings import Settings

#: Seconds for the scheduler's last figures.
LAST_SECONDS = 1.0
#: Seconds after which a scheduler that tells nothing is not asked.
SILENT_SECONDS = 5.0
#: Seconds until the files are written first, and between two times.
FIRST_WRITE_SECONDS, WRITE_SECONDS = 5.0, 30.0
#: Seconds for them to be written at the end.
WRITTEN_SECONDS = 5.0


def as_json(told: Mapping[str, Any]) -> str:
    """Return the text of a report as JSON."""
    return f"{json.dumps(told, indent=2)}\n"


#: What makes the text of each kind of file.
KINDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    ".json": as_json,
    ".svg": figure,
}


class Telling:
    """Tells of one run.

    Parameters
    ----------
    history : History
    roster : Roster
    plan : Plan
    settings : Settings
        ``report``, ``progress``.
    prints : Reporter
    """

    def __init__(
        self,
        history: History,
        roster: Roster,
        plan: Plan,
        settings: Settings,
        prints: Reporter,
    ) -> None:
        self._history = history
        self._roster = roster
        self._scheduler = plan.scheduler
        self._prints = prints
        self._files = report_files.ours(settings.report, history.world.job_id)
        self._last = asyncio.Event()
        self._asked = False
        self._writing = asyncio.Lock()
        self._progress = Progress(prints, terminal=prints.has_terminal)
        self._shows_progress = settings.progress
        self._serves = plan.client is None
        self._for_dask = report_files.dasks(settings.report, "")

    @property
    def history(self) -> History:
        """What is told of."""
        return self._history

    def check(self) -> None:
        """Try whether the files can be written.

        Raises
        ------
        ConfigError
            If one cannot.
        """
        if self._serves and self._for_dask:
            raise ConfigError(
                f"--report {self._for_dask} for a cluster without a script",
                "FILE.json: Dask's own report is of one script",
                "name such a file, or use Dask's performance_report in a client",
            )
        for file in self._files:
            file.check()

    def heard(self, work: m.Work) -> None:
        """Note what the scheduler tells, and show how far it is."""
        self._history.computes(work)
        ready = self._history.ready
        if self._asked:
            self._last.set()
        elif self._shows_progress and ready is not None:
            self._progress.moves(work, self._history.age - ready)

    async def keep(self) -> None:
        """Write the files now and then, until it is cancelled."""
        pause = FIRST_WRITE_SECONDS
        while self._files and self._history.status is None:
            await asyncio.sleep(pause)
            pause = WRITE_SECONDS
            # What cannot be written now is said at the end, if it still cannot.
            await self._write()

    async def tell(self) -> None:
        """Print the block and write the files: all ranks have stopped."""
        await self._ask_the_scheduler()
        history = self._history
        history.name = self._prints.name
        history.ended = history.age
        for line in end_block.lines(report(history)):
            self._prints.note(line)
        for file, error in (await self._write_in_time()).items():
            self._prints.warn(f"--report {file.path} was not written: {error}")

    async def _ask_the_scheduler(self) -> None:
        """Get the scheduler's last figures, if it is there to tell them."""
        member = self._roster.member(self._scheduler)
        ready = self._history.ready
        if member is None or ready is None:
            return
        # It tells for the first time some time after "ready".
        heard = max(self._history.work_told, ready)
        if self._history.age - heard >= SILENT_SECONDS:
            return
        self._asked = True
        member.tell(m.AskWork())
        try:
            async with asyncio.timeout(LAST_SECONDS):
                await self._last.wait()
        except TimeoutError:
            return

    async def _write_in_time(self) -> dict[ReportFile, str]:
        try:
            async with asyncio.timeout(WRITTEN_SECONDS):
                return await self._write()
        except TimeoutError:
            why = f"the file system did not answer within {WRITTEN_SECONDS:g} s"
            return dict.fromkeys(self._files, why)

    async def _write(self) -> dict[ReportFile, str]:
        """Write the files; return why, for each that cannot be written."""
        if not self._files:
            return {}
        self._history.name = self._prints.name
        async with self._writing:
            return await in_thread(_write, self._files, report(self._history))


def _write(
    files: tuple[ReportFile, ...], told: Mapping[str, Any]
) -> dict[ReportFile, str]:
    failed = {}
    for file in files:
        try:
            file.write(KINDS[file.kind](told))
        except OSError as error:
            failed[file] = str(error.strerror)
    return failed
