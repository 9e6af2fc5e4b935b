"""Show the logs of a cluster's processes to its owner.

The logs are files of the ranks, on their nodes. The hub asks a rank for the next part
of them when the last one has left: it holds one part for each who looks at them,
however long they are, and however slowly they are read.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import TYPE_CHECKING

from dask_runner.errors import UnavailableError
from dask_runner.hub import messages as m
from dask_runner.hub import requests as r
from dask_runner.hub.pings import OUTSIDE_PING_SECONDS

if TYPE_CHECKING:
    from dask_runner.hub.members import Member
    from dask_runner.hub.shared_state import SharedState
    from dask_runner.wire.channel import Channel

#: Seconds for a rank's answer beyond what it waits; a rank that stands still is lost
#: after --silence.
ANSWER_SECONDS = 60.0
#: Seconds between checks of which ranks are still connected.
LOOK_SECONDS = 1.0
#: Seconds until a log whose last line was not complete is read again.
PAUSE_SECONDS = 0.5
#: Seconds for the last lines, once the cluster ends.
LAST_LINES_SECONDS = 0.5
#: Ranks of which a part is read at a time, for each who follows them.
AT_A_TIME = 8
#: Names that an error lists.
LISTED = 24


class Logs:
    """Reads logs of a cluster's processes, over their ranks.

    Parameters
    ----------
    shared : SharedState
    """

    def __init__(self, shared: SharedState) -> None:
        self._shared = shared
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[m.Lines]] = {}
        self._shown_to: set[asyncio.Task[None]] = set()

    def heard(self, message: m.Lines) -> None:
        """Note a rank's answer; nobody may wait for it any more."""
        asked = self._asked.pop(message.number, None)
        if asked is not None and not asked.done():
            asked.set_result(message)

    def start(self, channel: Channel, request: r.AskLogs) -> asyncio.Task[None]:
        """Start to send what was asked for."""
        showing = asyncio.create_task(self.show(channel, request))
        self._shown_to.add(showing)
        showing.add_done_callback(self._shown_to.discard)
        return showing

    async def over(self) -> None:
        """Wait until who follows logs has the last lines, but not long."""
        if self._shown_to:
            await asyncio.wait(self._shown_to, timeout=2 * LAST_LINES_SECONDS)

    async def show(self, channel: Channel, request: r.AskLogs) -> None:
        """Send what was asked for, to its end.

        Raises
        ------
        UnavailableError
            If there is no such process.
        """
        turn = asyncio.Semaphore(AT_A_TIME)
        looks = [_Look(self, one, request.of, turn) for one in self._of(request.of)]
        if request.follows:
            await self._follow(channel, request.of, looks, turn)
            return
        for look in looks:
            if not await look.read(channel, last=True):
                channel.send(r.LogLost(look.member.name))
        channel.send(r.AllShown())
        await channel.drained()

    async def _follow(
        self, channel: Channel, of: str, looks: list[_Look], turn: asyncio.Semaphore
    ) -> None:
        """Send what is written, until the cluster ends."""
        ending = asyncio.create_task(self._shared.ending.decided())
        following: dict[_Look, asyncio.Task[None]] = {}
        unsaid = 0.0
        try:
            while not ending.done():
                for look in looks:
                    if look not in following:
                        following[look] = asyncio.create_task(look.follow(channel))
                await asyncio.wait({ending}, timeout=LOOK_SECONDS)
                unsaid += LOOK_SECONDS
                if unsaid >= OUTSIDE_PING_SECONDS:
                    channel.send(m.Ping())
                    unsaid = 0.0
                known = {look.member for look in following}
                new = [one for one in self._named(of) if one not in known]
                looks = [_Look(self, one, of, turn) for one in new]
        finally:
            ending.cancel()
            for task in following.values():
                task.cancel()
            over = await asyncio.gather(*following.values(), return_exceptions=True)
        for error in over:
            if isinstance(error, Exception):
                raise error
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_LINES_SECONDS):
                await asyncio.gather(
                    *(look.read(channel, last=True) for look in following)
                )
        channel.send(r.WillEnd(ending.result()))
        await channel.drained()

    # --- whose logs --------------------------------------------------------------

    def _of(self, name: str) -> list[Member]:
        """Return the ranks that have logs of a name.

        Raises
        ------
        UnavailableError
            If there is none.
        """
        if found := self._named(name):
            return found
        raise UnavailableError(
            f"no process {name!r} in this cluster" if name else "no ranks yet",
            f"one of {self._listed()}" if name else "a rank that has joined",
            "name one of these; or leave it out, for all of them",
        )

    def _named(self, name: str) -> list[Member]:
        roster = self._shared.roster
        if name == "scheduler":
            member = roster.member(self._shared.plan.scheduler)
            return [member] if member else []
        by_rank = sorted(roster.members, key=lambda one: one.order)
        node = name.removeprefix(m.AGENT)
        if node != name:
            return [one for one in by_rank if one.node.name == node]
        return [one for one in by_rank if not name or _may_have(one, name)]

    def _listed(self) -> str:
        members = sorted(self._shared.roster.members, key=lambda one: one.order)
        names = ["scheduler"] * (self._shared.plan.scheduler is not None)
        names += dict.fromkeys(f"{m.AGENT}{one.node.name}" for one in members)
        names += [worker for one in members for worker in one.offers]
        more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
        return ", ".join(names[:LISTED]) + more

    # --- one part ------------------------------------------------------------------

    async def lines(self, member: Member, ask: m.AskLines) -> m.Lines | None:
        """Return a rank's answer; None if the rank is lost."""
        asked: asyncio.Future[m.Lines] = asyncio.get_running_loop().create_future()
        self._asked[ask.number] = asked
        member.tell(ask)
        latest = asyncio.get_running_loop().time() + ANSWER_SECONDS
        try:
            while member in self._shared.roster:
                await asyncio.wait({asked}, timeout=LOOK_SECONDS)
                if asked.done():
                    return asked.result()
                if asyncio.get_running_loop().time() > latest:
                    break
            return None
        finally:
            self._asked.pop(ask.number, None)

    def number(self) -> int:
        """Return the number of the next question."""
        return next(self._numbers)


class _Look:
    """How far the logs of one rank have been shown.

    Parameters
    ----------
    logs : Logs
    member : Member
    name : str
        The process; empty for all of the rank's.
    turn : asyncio.Semaphore
        Limits the parts that are on their way at a time.
    """

    def __init__(
        self, logs: Logs, member: Member, name: str, turn: asyncio.Semaphore
    ) -> None:
        self._logs = logs
        self._turn = turn
        self._names = [name] if name else []
        self._positions: dict[str, m.LogPosition] = {}
        self.member = member

    async def read(self, channel: Channel, *, last: bool = False) -> bool:
        """Send all that there is; return whether the rank is there."""
        while True:
            async with self._turn:
                lines = await self._ask(waits=False, last=last)
                if lines is None:
                    return False
                for piece in lines.pieces:
                    self._positions[piece.to.name] = piece.to
                    if piece.text:
                        channel.send(r.LogText(piece.to.name, piece.text))
                await channel.drained()
            if not lines.more:
                return True

    async def follow(self, channel: Channel) -> None:
        """Send what there is, and what is written then, until the rank is lost."""
        while (lines := await self._ask(waits=True)) is not None:
            if lines.more:
                if not await self.read(channel):
                    break
                await asyncio.sleep(PAUSE_SECONDS)
        channel.send(r.LogLost(self.member.name))

    async def _ask(self, *, waits: bool, last: bool = False) -> m.Lines | None:
        positions = list(self._positions.values())
        number = self._logs.number()
        ask = m.AskLines(number, self._names, positions, waits=waits, last=last)
        return await self._logs.lines(self.member, ask)


def _may_have(member: Member, worker: str) -> bool:
    """Return whether a worker of that name is a rank's, or will be."""
    if member.complete:
        return worker in member.offers
    return worker.partition("-")[0] == member.worker
