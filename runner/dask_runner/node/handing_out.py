"""Hand out ranks to processes that no launcher counts, before anything else begins.

The one that comes first opens the desk (:mod:`dask_runner.node.desk`) and becomes rank
0. The others find it by a claim in a shared directory, or at an address
(:mod:`dask_runner.node.first_come`). When all have come, each knows its place in the
launch; the hub's record reaches them over their connections with the desk.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dask_runner.errors import AssemblyError, RunnerError, SignalledError
from dask_runner.hub.report import say
from dask_runner.launch.handed_out import any_place
from dask_runner.launch.signals import ENDS_THE_CLUSTER, FOR_THE_TOP
from dask_runner.meeting.by_file import file_meeting, pauses
from dask_runner.node.at_desk import AtDesk, UnansweredError
from dask_runner.node.desk import Desk
from dask_runner.node.desk_meeting import DeskMeeting, First, Other
from dask_runner.node.first_come import ByClaim, by_secret
from dask_runner.node.follower import hear_signals, hold_signals

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_runner.launch.handed_out import Asked
    from dask_runner.launch.settings import Settings
    from dask_runner.launch.world import World
    from dask_runner.meeting.record import Record
    from dask_runner.node import desk_messages as d
    from dask_runner.node.first_come import FirstCome


#: Seconds that others wait longer than the first, which tells them how many came.
LATER_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Handed:
    """A process has its place in the launch, and a way to meet the others."""

    world: World
    meeting: DeskMeeting


async def hand_out(
    asked: Asked,
    settings: Settings,
    environ: Mapping[str, str],
    known: World | None = None,
) -> Handed:
    """Get this process's place in the launch, as the first or from the first.

    Parameters
    ----------
    asked : Asked
    settings : Settings
    environ : mapping
    known : World, optional
        Its place, where its launcher counts ranks, and they only have to meet.

    Raises
    ------
    RunnerError
        If it gets none, within ``--timeout``.
    """
    handing = _HandingOut(asked, settings, environ, known)
    running = asyncio.create_task(handing.run())
    loop = asyncio.get_running_loop()

    def end(number: int) -> None:
        if number in ENDS_THE_CLUSTER and not handing.signalled:
            handing.signalled = number
            running.cancel()

    for number in FOR_THE_TOP:
        loop.add_signal_handler(number, end, number)
    hear_signals()
    try:
        async with asyncio.timeout(settings.timeout) as handing.deadline:
            return await running
    except (TimeoutError, asyncio.CancelledError) as error:
        reason = handing.why()
        _print(reason, known)
        raise reason from error
    except RunnerError as error:
        _print(error, known)
        raise
    finally:
        hold_signals()
        for number in FOR_THE_TOP:
            loop.remove_signal_handler(number)


def _print(error: RunnerError, known: World | None) -> None:
    """Print an error, unless another process of the launch does."""
    late = isinstance(error, AssemblyError)
    if not (error.printed or (late and known is not None and known.rank > 1)):
        say(error if isinstance(error, SignalledError) else f"error: {error}")
    error.printed = True


class _HandingOut:
    def __init__(
        self,
        asked: Asked,
        settings: Settings,
        environ: Mapping[str, str],
        known: World | None,
    ) -> None:
        self._asked = asked
        self._settings = settings
        self._environ = environ
        self._known = known
        self._began = time.monotonic()
        self._rank = known.rank if known is not None else -1
        self._nonce = secrets.token_hex(16)
        self.signalled = 0
        self.deadline: asyncio.Timeout | None = None
        self._reason: RunnerError | None = None
        self._desk: Desk | None = None
        self._at_desk: AtDesk | None = None
        self._way: FirstCome
        if settings.meet:
            self._way = by_secret(settings, environ, self._rank)
        else:
            own = any_place(asked)
            self._way = ByClaim(asked.key, self._nonce, own, settings, environ)

    async def run(self) -> Handed:
        for pause in pauses():
            found = await self._way.look()
            if found is None:
                handed = await self._be_first()
            else:
                handed = await self._ask(found)
            if handed is not None:
                return handed
            await asyncio.sleep(pause)
        raise AssertionError("pauses never end")

    async def _be_first(self) -> Handed | None:
        """Open the desk; None if another process was quicker."""
        settings = self._settings
        desk = Desk(
            self._asked.size,
            f"{self._asked.key}.{self._nonce}",
            self._way.own,
            numbered=self._known is not None,
            patience=None if settings.needs_all_ranks else settings.timeout / 2,
        )
        try:
            is_first = await self._way.claim(desk)
        except BaseException:
            await desk.shut()
            raise
        if not is_first:
            await desk.shut()
            return None
        desk.begin()
        self._desk, first = desk, First(desk, self._way)
        try:
            seat = await desk.complete()
        except BaseException as error:
            if isinstance(error, RunnerError):
                self._reason = error
            desk.end(self.why())
            if isinstance(error, RunnerError):
                await desk.turn_away()
            await first.leave()
            raise
        return self._handed(seat, first)

    async def _ask(self, found: Record) -> Handed | None:
        """Ask the desk for a place; None if it does not answer."""
        if (channel := await self._way.reach(found)) is None:
            return None
        if self._at_desk is None and self.deadline is not None:
            # The desk's own time ends at about the same moment, and it knows more.
            latest = asyncio.get_running_loop().time() + self._left + LATER_SECONDS
            self.deadline.reschedule(latest)
        at_desk = AtDesk(channel, self._asked.size, f"on {found.node}")
        self._at_desk = at_desk
        try:
            seat = await at_desk.sit_down(self._rank)
        except UnansweredError:
            await at_desk.leave()
            return None
        except BaseException:
            await at_desk.leave()
            raise
        return self._handed(seat, Other(at_desk, self._way))

    @property
    def _left(self) -> float:
        left: float = self._began + self._settings.timeout - time.monotonic()
        return left

    def _handed(self, seat: d.Seat, side: First | Other) -> Handed:
        world = self._known or _world(self._asked, seat)
        file = self._settings.scheduler_file
        also = file_meeting(world, self._environ, file) if file else None
        return Handed(world, DeskMeeting(side, also))

    def why(self) -> RunnerError:
        """Return why this process got no place: a signal, or the end of the time."""
        if self._reason is None and self.signalled:
            who = f"a process on {socket.gethostname()}"
            self._reason = SignalledError(who, self.signalled, "before all had come")
        # The others leave when they are told.
        self._reason = self._reason or self._too_late()
        return self._reason

    def _too_late(self) -> AssemblyError:
        asked, seconds = self._asked, time.monotonic() - self._began
        needed = f"{asked.size} processes of this launch ({asked.source})"
        if self._desk is not None:
            came, where = self._desk.came, f" on {', '.join(self._desk.nodes)}"
        elif self._at_desk is not None:
            came, where = self._at_desk.came, ""
        else:
            trouble = self._way.trouble
            saw = f"waited {seconds:.0f} s for the first process: {trouble}"
            return _late(saw, needed)
        saw = f"{came} of {asked.size} processes came within {seconds:.0f} s{where}"
        return _late(saw, needed)


def _late(saw: str, needed: str) -> AssemblyError:
    return AssemblyError(
        saw,
        needed,
        "look for errors of the others; see that all have the same name, job and "
        "directory, or the same address and secret; give more time with --timeout",
    )


def _world(asked: Asked, seat: d.Seat) -> World:
    return replace(
        any_place(asked),
        rank=seat.rank,
        local_rank=seat.local_rank if seat.local_size else None,
        local_size=seat.local_size or None,
        key=seat.key,
    )
