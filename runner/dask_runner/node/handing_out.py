"""Hand out ranks to processes that no launcher counts, before anything else begins.

The one that comes first opens the desk (:mod:`dask_runner.node.desk`) and becomes rank
0. The others find it by a claim in a shared directory, or at an address
(:mod:`dask_runner.node.first_come`). When all have come, each knows its place in the
launch; the hub's record reaches them over their connections with the desk.
"""

from __future__ import annotations

import asyncio
import contextlib
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
from dask_runner.meeting.relay import RelayMeeting
from dask_runner.node import desk_messages as d
from dask_runner.node.at_desk import AtDesk, DeskNotices, UnansweredError
from dask_runner.node.desk import Desk
from dask_runner.node.first_come import ByClaim, by_secret
from dask_runner.node.follower import hear_signals, hold_signals

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dask_runner.launch.handed_out import Asked
    from dask_runner.launch.settings import Settings
    from dask_runner.launch.world import World
    from dask_runner.meeting.by_file import FileMeeting
    from dask_runner.meeting.notice import Notice
    from dask_runner.meeting.record import Record
    from dask_runner.node.first_come import FirstCome
    from dask_runner.wire.message import Message


#: Seconds that others wait longer than the first, which tells them how many came.
LATER_SECONDS = 2.0
#: Seconds for a process that cannot begin to find one that can.
TELL_SECONDS = 5.0
#: Seconds that rank 0 stays for the others where it cannot begin: pods come one by one.
REFUSE_SECONDS = 10.0


class DeskMeeting(RelayMeeting):
    """The record travels from rank 0's desk to the processes that are connected there.

    Parameters
    ----------
    side : _First or _Other
        What this process does for it.
    file : FileMeeting, optional
        Where rank 0 writes the record as well: the file that the user has named.

    Attributes
    ----------
    listen : callable
        Takes a function that is to be told of ranks that are absent.
    """

    collective = False

    def __init__(self, side: _First | _Other, file: FileMeeting | None = None) -> None:
        notices = DeskNotices(side.tell, prints=side.prints)
        super().__init__(
            side.hand_over,
            waits=lambda: "it has not opened the hub yet",
            finished=side.leave,
            notices=notices,
        )
        self.listen = side.listen
        self._side = side
        self._file = file

    async def publish(self, record: Record) -> None:
        """Give it to all; write the file."""
        await super().publish(record)
        if self._file is not None:
            await self._file.publish(record)

    @property
    def files(self) -> tuple[str, ...]:
        """The file, if there is one."""
        return self._file.files if self._file is not None else ()

    def adopt(self, nonce: str) -> None:
        """Answer for the files of a rank 0 that is gone."""
        self._side.adopt()
        if self._file is not None:
            self._file.adopt(nonce)

    def withdraw(self) -> None:
        """Remove the file."""
        self._side.withdraw()
        if self._file is not None:
            self._file.withdraw()


class _First:
    """What the first process does for its meeting."""

    prints = True

    def __init__(self, desk: Desk, way: FirstCome) -> None:
        self._desk = desk
        self._way = way
        self._keeping = asyncio.create_task(way.keep())

    async def hand_over(self, text: str | None) -> str:
        """Give the record to all."""
        self._desk.give(text or "")
        return text or ""

    def listen(self, hear: Callable[[Message], None]) -> None:
        """Have *hear* told of ranks that are absent."""
        self._desk.listen(hear)

    def tell(self, notice: Notice) -> None:
        """Tell all others that the launch is over."""
        error = RunnerError(notice.saw, notice.needed, notice.do)
        error.status = notice.status
        self._desk.end(error)

    def adopt(self) -> None:
        """Do nothing: this is rank 0."""

    def withdraw(self) -> None:
        """Do nothing yet: processes that come now are told that the launch is full."""

    async def leave(self) -> None:
        """Take the claim back, and close the desk."""
        self._keeping.cancel()
        self._way.withdraw()
        await self._desk.shut()


class _Other:
    """What another process does for its meeting."""

    prints = False

    def __init__(self, at_desk: AtDesk, way: FirstCome) -> None:
        self._at_desk = at_desk
        self.leave = at_desk.leave
        self.adopt = way.adopt
        self.withdraw = way.withdraw

    async def hand_over(self, text: str | None) -> str:
        """Wait for the record."""
        del text
        return await self._at_desk.record()

    def listen(self, hear: Callable[[Message], None]) -> None:
        """Do nothing: rank 0 is told."""

    def tell(self, notice: Notice) -> None:
        """Tell rank 0 that this process cannot join."""
        self._at_desk.fail(notice)


async def tell_first(
    error: RunnerError,
    asked: Asked,
    settings: Settings,
    environ: Mapping[str, str],
    rank: int,
) -> bool:
    """Tell the first that this process cannot begin; return whether it heard that.

    It may be coming as well, so this takes some seconds.

    Parameters
    ----------
    error : RunnerError
    asked : Asked
    settings : Settings
    environ : mapping
    rank : int
        This process's number where its launcher has given it one; otherwise -1.

    Raises
    ------
    RunnerError
        If the processes cannot meet.
    """
    way: FirstCome
    if settings.meet:
        # It does not listen there itself.
        way = by_secret(settings, environ, max(rank, 1))
    else:
        world = any_place(asked)
        way = ByClaim(asked.key, "", world, settings, environ)
    node = socket.gethostname()
    parts = error.saw, error.needed, error.do, error.status
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(TELL_SECONDS):
            for pause in pauses():
                found = await way.look()
                channel = None if found is None else await way.reach(found)
                if channel is not None:
                    channel.send(d.Fails(*parts, node, rank))
                    await channel.closed()
                    return True
                await asyncio.sleep(pause)
    return False


async def refuse_others(
    error: RunnerError, asked: Asked, settings: Settings, environ: Mapping[str, str]
) -> None:
    """Tell the other ranks, at the address where they meet, that rank 0 cannot begin.

    Parameters
    ----------
    error : RunnerError
    asked : Asked
        Of a launch whose launcher counts the ranks.
    settings : Settings
        With an address to meet at.
    environ : mapping

    Raises
    ------
    RunnerError
        If rank 0 cannot listen there.
    """
    way = by_secret(settings, environ, 0)
    if await way.look() is not None:
        return  # another program has the address
    desk = Desk(asked.size, asked.key, way.own, numbered=True)
    try:
        await way.claim(desk)
        await desk.refuse_all(error, REFUSE_SECONDS)
    finally:
        await desk.shut()


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
        self._desk, first = desk, _First(desk, self._way)
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
        return self._handed(seat, _Other(at_desk, self._way))

    @property
    def _left(self) -> float:
        left: float = self._began + self._settings.timeout - time.monotonic()
        return left

    def _handed(self, seat: d.Seat, side: _First | _Other) -> Handed:
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
