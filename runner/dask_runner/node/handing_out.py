"""Hand out ranks to processes that no launcher counts, before anything else begins.

The one that comes first opens the desk (:mod:`dask_runner.node.desk`) and becomes rank
0. The others find the desk by its claim in a shared directory
(:mod:`dask_runner.meeting.claims`). When all have come, each knows its place in the
launch; the hub's record reaches them over their connections with the desk.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_runner.errors import AssemblyError, ConfigError, RunnerError, SignalledError
from dask_runner.hub.ask import SilentError, connected
from dask_runner.launch.signals import ENDS_THE_CLUSTER, FOR_THE_TOP
from dask_runner.launch.world import World
from dask_runner.meeting import tls
from dask_runner.meeting.addresses import own_address
from dask_runner.meeting.by_file import file_meeting, pauses
from dask_runner.meeting.claims import REFRESH_SECONDS, Claims, place
from dask_runner.meeting.record import BadRecordError, Record
from dask_runner.meeting.relay import RelayMeeting
from dask_runner.node import desk_messages as d
from dask_runner.node.at_desk import AtDesk, DeskNotices, UnansweredError
from dask_runner.node.desk import Desk
from dask_runner.node.follower import hear_signals, hold_signals
from dask_runner.wire import mutual_tls
from dask_runner.wire.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dask_runner.launch.handed_out import Asked
    from dask_runner.launch.settings import Settings
    from dask_runner.meeting.by_file import FileMeeting
    from dask_runner.meeting.notice import Notice
    from dask_runner.wire.message import Message


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
        """Answer for the file of a rank 0 that is gone."""
        if self._file is not None:
            self._file.adopt(nonce)

    def withdraw(self) -> None:
        """Remove the file."""
        if self._file is not None:
            self._file.withdraw()


class _First:
    """What the first process does for its meeting."""

    prints = True

    def __init__(self, desk: Desk, claims: Claims) -> None:
        self._desk = desk
        self._claims = claims
        self._keeping = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            # Somebody has removed it: who comes now begins a launch of its own.
            with contextlib.suppress(OSError, BadRecordError):
                await in_thread(self._claims.refresh)

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

    async def leave(self) -> None:
        """Take the claim back, and close the desk."""
        self._keeping.cancel()
        self._claims.withdraw()
        await self._desk.shut()


class _Other:
    """What another process does for its meeting."""

    prints = False

    def __init__(self, at_desk: AtDesk) -> None:
        self._at_desk = at_desk
        self.leave = at_desk.leave

    async def hand_over(self, text: str | None) -> str:
        """Wait for the record."""
        del text
        return await self._at_desk.record()

    def listen(self, hear: Callable[[Message], None]) -> None:
        """Do nothing: rank 0 is told."""

    def tell(self, notice: Notice) -> None:
        """Tell rank 0 that this process cannot join."""
        self._at_desk.fail(notice)


@dataclass(frozen=True, slots=True)
class Handed:
    """A process has its place in the launch, and a way to meet the others."""

    world: World
    meeting: DeskMeeting


async def hand_out(
    asked: Asked, settings: Settings, environ: Mapping[str, str]
) -> Handed:
    """Get this process's place in the launch, as the first or from the first.

    Parameters
    ----------
    asked : Asked
    settings : Settings
    environ : mapping

    Raises
    ------
    RunnerError
        If it gets none, within ``--timeout``.
    """
    handing = _HandingOut(asked, settings, environ)
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
        async with asyncio.timeout(settings.timeout):
            return await running
    except (TimeoutError, asyncio.CancelledError) as error:
        raise handing.why() from error
    finally:
        hold_signals()
        for number in FOR_THE_TOP:
            loop.remove_signal_handler(number)


class _HandingOut:
    def __init__(
        self, asked: Asked, settings: Settings, environ: Mapping[str, str]
    ) -> None:
        self._asked = asked
        self._settings = settings
        self._environ = environ
        self._began = time.monotonic()
        where = place(environ, settings.scheduler_file)
        self._claims = Claims(where, asked.key)
        self.signalled = 0
        self._reason: RunnerError | None = None
        self._desk: Desk | None = None
        self._at_desk: AtDesk | None = None

    async def run(self) -> Handed:
        for pause in pauses():
            try:
                claim = self._claims.look()
                if claim is None:
                    if (handed := await self._be_first()) is not None:
                        return handed
                elif (handed := await self._ask(claim)) is not None:
                    return handed
            except (OSError, BadRecordError) as error:
                raise _unusable(self._claims, error) from error
            await asyncio.sleep(pause)
        raise AssertionError("pauses never end")

    async def _be_first(self) -> Handed | None:
        """Open the desk and lay a claim; None if somebody else was quicker."""
        asked, settings = self._asked, self._settings
        certificate, private_key = tls.material()
        nonce = secrets.token_hex(16)
        desk = Desk(
            asked.size,
            f"{asked.key}.{nonce}",
            mutual_tls.context(certificate, private_key, server=True),
            patience=None if settings.needs_all_ranks else settings.timeout / 2,
        )
        host = own_address(_world(asked, d.Seat(0, 0, 0, "")), settings.interface)
        port = await desk.open(host)
        node = socket.gethostname()
        where = asked.key, nonce, node, host, port, certificate, private_key
        if not self._claims.lay(Record(*where)):
            await desk.shut()
            return None
        desk.begin()
        self._desk, first = desk, _First(desk, self._claims)
        try:
            seat = await desk.complete()
        except BaseException:
            desk.end(self.why())
            await first.leave()
            raise
        return self._handed(seat, first)

    async def _ask(self, claim: Record) -> Handed | None:
        """Ask the desk of a claim for a place; None if it does not answer."""
        try:
            channel = await connected(claim)
        except SilentError as why:
            self._claims.is_over(gone=why.gone)
            return None
        desk = f"on {claim.node}"
        self._at_desk = at_desk = AtDesk(channel, self._asked.size, desk)
        try:
            seat = await at_desk.sit_down()
        except UnansweredError:
            await at_desk.leave()
            return None
        except BaseException:
            await at_desk.leave()
            raise
        return self._handed(seat, _Other(at_desk))

    def _handed(self, seat: d.Seat, side: _First | _Other) -> Handed:
        world, file = _world(self._asked, seat), self._settings.scheduler_file
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
        do = (
            "look for errors of the others; start all with the same --name and in the "
            "same job; name a directory that the nodes share with --scheduler-file; "
            "give more time with --timeout"
        )
        if self._desk is not None:
            came, where = self._desk.came, f" on {', '.join(self._desk.nodes)}"
        elif self._at_desk is not None:
            came, where = self._at_desk.came, ""
        else:
            trouble = self._claims.trouble
            saw = f"waited {seconds:.0f} s for the first process: {trouble}"
            return AssemblyError(saw, needed, do)
        saw = f"{came} of {asked.size} processes came within {seconds:.0f} s{where}"
        return AssemblyError(saw, needed, do)


def _world(asked: Asked, seat: d.Seat) -> World:
    return World(
        launcher=asked.system,
        rank=seat.rank,
        size=asked.size,
        local_rank=seat.local_rank if seat.local_size else None,
        local_size=seat.local_size or None,
        job_id=asked.job_id,
        key=seat.key,
        meeting="file",
    )


def _unusable(claims: Claims, error: Exception) -> ConfigError:
    saw = getattr(error, "strerror", None) or error
    return ConfigError(
        f"the processes cannot meet in {claims.directory}: {saw}",
        "a directory that all nodes share, and that only you can write",
        "name one with --scheduler-file DIR/scheduler.json",
    )
