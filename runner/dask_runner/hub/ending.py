"""How a cluster ends: by a signal, an error or the script, and with which status.

The first reason decides the status. Then all ranks are told to stop, and the hub waits
for them until a deadline.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING

from dask_runner.errors import AssemblyError, RunnerError, SignalledError
from dask_runner.hub import messages as m
from dask_runner.hub.time_limit import TimeLimit
from dask_runner.launch.signals import FOR_THE_SCRIPT

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from dask_runner.hub.members import Member
    from dask_runner.hub.report import Reporter
    from dask_runner.hub.roster import Roster
    from dask_runner.hub.telling import Telling
    from dask_runner.launch.settings import Settings
    from dask_runner.meeting.notice import Notice

#: Seconds for all ranks to stop their processes once the cluster ends.
STOP_SECONDS = 8.0
#: Seconds of these for what the workers have printed, which comes before the last line.
OUTPUT_SECONDS = 2.0
#: Seconds for the ranks to leave once all have stopped.
LEAVE_SECONDS = 2.0
#: Seconds that the hub waits after the end for ranks that have not arrived, where those
#: that come even later find a notice. They look for a record every second.
LATE_SECONDS = 3.0


class Ending:
    """The end of one cluster.

    Parameters
    ----------
    roster : Roster
    client : int or None
        The rank that has the client.
    settings : Settings
        ``timeout``, ``grace``, ``stop_before``.
    report : Reporter
        Prints for the user.
    ends_at : float, optional
        When the launcher ends the job, in seconds since 1970.
    telling : Telling
        Tells what the run used, when all ranks have stopped.
    notices : bool
        Whether notices can be left for ranks that come too late.

    Attributes
    ----------
    status : int or None
        The status of the job, once it is decided.
    cause : RunnerError or None
        Why it ends, for ranks that come too late.
    """

    def __init__(
        self,
        roster: Roster,
        client: int | None,
        settings: Settings,
        report: Reporter,
        ends_at: float | None,
        telling: Telling,
        *,
        notices: bool = False,
    ) -> None:
        self._roster = roster
        self._client = client
        self._settings = settings
        self._report = report
        self._time_limit = TimeLimit(
            settings, report, ends_at, self._time_is_over, serves=client is None
        )
        self._telling = telling
        self._history = telling.history
        self._notices = notices
        self.status: int | None = None
        self.cause: RunnerError | None = None
        self._begun = False
        self._queues_again = False
        self._signal = 0
        self._signals: Counter[int] = Counter()
        self._heard: Counter[tuple[int, int]] = Counter()
        self._changed = asyncio.Event()
        self._began = time.monotonic()
        self._ended = 0.0
        self._finishes = False

    @property
    def seconds(self) -> float:
        """The age of the cluster."""
        return time.monotonic() - self._began

    @property
    def queues_again(self) -> bool:
        """Whether the cluster has ended in order to be queued again.

        A script that fails while it saves its work would fail again.
        """
        return self._queues_again and self.status in (0, 128 + signal.SIGTERM)

    def changed(self) -> None:
        """Check again whether all ranks have left."""
        self._changed.set()

    # --- signals, and the job's time ----------------------------------------

    def begins(self) -> None:
        """Note that the cluster is ready: a script has begun, and can get signals."""
        self._begun = True
        self._history.ready = self._history.age
        self._time_limit.begins()

    def signalled(self, rank: int, name: str, number: int) -> None:
        """Forward a signal to the client, once if a launcher sent it to all ranks.

        A second signal that would end the script ends the cluster at once.
        """
        self._heard[rank, number] += 1
        if self._heard[rank, number] <= self._signals[number]:
            return
        self._signals[number] += 1
        of_time = self._time_limit.explains(number)
        if number not in FOR_THE_SCRIPT and not of_time:
            self._queues_again = False  # somebody else ends the job
        if number not in FOR_THE_SCRIPT and not self._begun:
            self.asked_to_end(
                SignalledError(name, number, "before the cluster was ready")
            )
        elif number not in FOR_THE_SCRIPT:
            self._end_script(number)
        elif self._begun and (client := self._roster.member(self._client)):
            client.tell(m.Signalled(number))

    def stop(self, by: str) -> None:
        """End the cluster because its owner asks for that; *by* says from where.

        A script gets SIGTERM, and the status says so. A cluster without a script has
        done what it was for.
        """
        self._queues_again = False
        if self.status is not None or self._signal:
            return
        self._report.note(f"stopped by {by}")
        if self._client is None:
            self.close(0)
        elif self._begun:
            self._end_script(signal.SIGTERM)
        else:
            self._signal = signal.SIGTERM
            error = RunnerError(f"stopped by {by} before the cluster was ready")
            error.status = 128 + signal.SIGTERM
            self._end_by(error)

    def _end_script(self, number: int, grace: float | None = None) -> None:
        """Send the script a signal and close after its grace; on a second one, now.

        *grace* is in seconds; by default as the user says.
        """
        seconds = self._settings.grace if grace is None else grace
        client = self._roster.member(self._client)
        again = bool(self._signal)
        self._signal = number
        if client is None or again:
            self.close(128 + number)
        else:
            client.tell(m.Signalled(number))
            later(seconds, self.close, 128 + number)

    def asked_to_end(self, error: SignalledError) -> None:
        """End the cluster at once by a signal that came before the script began."""
        if self.status is None:
            self._signal = error.status - 128
            self._report.note(str(error))
            self._end_by(error)

    def _time_is_over(self) -> None:
        """End the cluster before its job's end; a script has time to save its work."""
        if self.status is None and not self._signal:
            self._queues_again = self._time_limit.requeues
            then = "; then the job is queued again" if self._queues_again else ""
            what = (
                "the cluster ends" if self._client is None else "SIGTERM to the script"
            )
            self._report.note(f"{self._time_limit.left}: {what}{then}")
            if self._client is None:
                self.close(0)
            else:
                # What the user has reserved, but for the end of the cluster.
                grace = max(self._settings.grace, self._time_limit.grace)
                self._end_script(signal.SIGTERM, grace)

    # --- the status ---------------------------------------------------------

    def client_ended(self, message: m.ClientEnded) -> None:
        """End with the script's status."""
        status = message.status
        if self._signal:
            status = status or 128 + self._signal
        elif message.said:
            self._report.error(message.said)
            self._history.cause = message.said
        self.close(status)

    def fail(self, error: RunnerError) -> None:
        """Print an error, and end the cluster because of it."""
        if self.status is None:
            self._report.error(error)
            self._end_by(error)

    def over(self, notice: Notice) -> None:
        """End the cluster because of the notice of a rank that could not join."""
        error = RunnerError(notice.saw, notice.needed, notice.do)
        error.status = notice.status
        if not notice.said:
            self.fail(error)
        elif self.status is None:
            self._end_by(error)

    def _end_by(self, error: RunnerError) -> None:
        self.cause = error
        self._history.cause = error.saw.partition("\n")[0]
        self.close(error.status)

    def close(self, status: int) -> None:
        """End the cluster with *status*; the first call decides."""
        if self.status is not None:
            return
        self.status = status
        self._history.decides(status)
        self._ended = time.monotonic()
        if self.cause is None:
            self.cause = RunnerError("the cluster has ended")
            self.cause.status = status
        for node in self._roster.nodes:
            node.channel.send(m.Close(status))
        self.changed()

    # --- until all have left ------------------------------------------------

    async def decided(self) -> int:
        """Wait until the cluster has a status; return it."""
        while self.status is None:
            self._changed.clear()
            await self._changed.wait()
        return self.status

    async def finished(self) -> int:
        """Wait until the cluster has ended and all ranks have left.

        It also waits for ranks that have not arrived yet, so that they learn of the
        end: for a moment, or until the deadline of the assembly if no notice would
        tell them.

        Returns
        -------
        int
            The status of the job.
        """
        roster = self._roster
        status = await self.decided()
        await self._byes(OUTPUT_SECONDS)
        if self._begun:
            self._report.ended(status, self._ended - self._began)
        await self._byes(STOP_SECONDS + self._settings.grace - OUTPUT_SECONDS)
        if not roster.own.assembled:
            everyone = self._until(lambda: roster.own.assembled and not roster.staying)
            await _within(max(self._late_until - time.monotonic(), 0.0), everyone)
        await self._telling.tell()
        self._finishes = True
        for node in roster.nodes:
            node.channel.send(m.Finish())
        await _within(
            LEAVE_SECONDS, self._until(lambda: roster.has_only_the_node_of(0))
        )
        return status

    def turn_away(self, member: Member) -> None:
        """Send away a rank that has come after the end was decided."""
        member.tell(m.Close(self.status or 0))
        if self._finishes:  # the others were told before it came
            member.node.channel.send(m.Finish())

    async def _byes(self, seconds: float) -> None:
        roster = self._roster
        await _within(seconds, self._until(lambda: not roster.staying))

    @property
    def leaves_notice(self) -> bool:
        """Whether ranks that come too late find a notice of the end.

        If the script has begun without them, they may never come, and nobody would
        remove the notice.
        """
        return self._notices and not self._begun

    @property
    def _late_until(self) -> float:
        """The time until which the hub waits for ranks that have not arrived."""
        last = self._began + float(self._settings.timeout)
        if self.leaves_notice:
            return min(self._ended + LATE_SECONDS, last)
        # Late ranks get the signal as well, or have missed the deadline.
        no_more = self._signal or isinstance(self.cause, AssemblyError)
        return self._ended if no_more else last

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            self._changed.clear()
            await self._changed.wait()


def later(seconds: float, call: Callable[..., None], *args: object) -> None:
    """Call a function after *seconds*."""
    asyncio.get_running_loop().call_later(seconds, call, *args)


async def _within(seconds: float, awaited: Awaitable[None]) -> None:
    """Wait for *awaited*, but not longer than *seconds*."""
    try:
        async with asyncio.timeout(seconds):
            await awaited
    except TimeoutError:
        return
