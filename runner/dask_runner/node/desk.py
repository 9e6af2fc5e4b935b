"""The desk: where the processes of a launch get their numbers, and the hub's record.

It is in the process that has come first, which becomes rank 0. It knows of each other
process from its coming to its end. While not all have come, one that leaves makes its
place free. Then each has its number, and one that ends before it has joined the hub is
absent. Who comes later is told that the launch is full.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError, RunnerError
from dask_runner.hub import messages as m
from dask_runner.hub.listener import Door
from dask_runner.hub.report import say
from dask_runner.node import desk_messages as d
from dask_runner.node.launcher_child import failed
from dask_runner.wire.message import ProtocolError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from dask_runner.wire.channel import Channel
    from dask_runner.wire.message import Message

#: Seconds for a process to say who it is.
COME_SECONDS = 10.0
#: Seconds for others to come, who are told that the launch is over.
STAY_SECONDS = 3.0
#: The namespace in which the ranks of a node see each other's sockets. They share the
#: node's CPUs and memory also where each is in a container of its own, with a user
#: namespace (Apptainer) or processes (Podman) that no other has.
_NETWORK = Path("/proc/self/ns/net")


def place() -> str:
    """Return what this process has in common with all that it can form a node with."""
    return f"{socket.gethostname()} {os.geteuid()} {_NETWORK.readlink()}"


@dataclass(eq=False, slots=True)
class _Guest:
    channel: Channel
    come: d.Come
    rank: int = -1


class Desk:
    """Gives the processes of a launch their numbers.

    Parameters
    ----------
    size : int
        The number of ranks, of which this process is one.
    key : str
        The launch's, which no other launch has.
    own : ssl.SSLContext
        What proves that a process belongs, and is asked of the others.
    numbered : bool
        Whether the ranks have numbers from their launcher.
    patience : float, optional
        Seconds after which those that have come get their numbers, if not all have;
        None where the cluster needs all.

    Attributes
    ----------
    hear : callable
        Is told of each rank that is absent.
    """

    def __init__(
        self,
        size: int,
        key: str,
        own: ssl.SSLContext,
        *,
        numbered: bool = False,
        patience: float | None = None,
    ) -> None:
        self._size = size
        self._key = key
        self._numbered = numbered
        self._patience = patience
        self._seated = numbered
        self._door = Door(own, self._meet, self._refuse, size)
        self._own = d.Come(size, socket.gethostname(), place(), 0)
        self._guests: list[_Guest] = []
        self._record: str | None = None
        self._over: d.TurnedAway | None = None
        self._failure: RunnerError | None = None
        self._begun, self._complete = asyncio.Event(), asyncio.Event()
        self._known, self._changed = 0, asyncio.Event()
        self._absent: list[Message] = []
        self._hear: Callable[[Message], None] | None = None
        self._stranger_seen = False
        self._check_complete()

    async def open(
        self,
        host: str,
        listening: socket.socket | None = None,
        among: str | None = None,
    ) -> int:
        """Listen on *host*, or at a socket that is bound; return the port.

        Raises
        ------
        AssemblyError
            If none of the ports *among* which it may choose is free.
        """
        return await self._door.open(host, listening, among)

    def begin(self) -> None:
        """Answer those who have come: this process is the first."""
        self._begun.set()

    async def shut(self) -> None:
        """Listen no more, and end every connection, behind what was said."""
        ends = (guest.channel.closed() for guest in self._guests)
        await asyncio.gather(*ends, return_exceptions=True)
        await self._door.shut()

    # --- what this process does ---------------------------------------------

    @property
    def came(self) -> int:
        """How many processes are there, with this one."""
        return len(self._guests) + 1

    @property
    def nodes(self) -> list[str]:
        """The names of their hosts."""
        return [come.node for come in self._there]

    @property
    def _there(self) -> list[d.Come]:
        return [self._own, *(guest.come for guest in self._guests)]

    async def complete(self) -> d.Seat:
        """Wait until all have come that have to; return this process's place.

        Raises
        ------
        RunnerError
            If one of them cannot begin, which has printed why.
        """
        if not self._seated:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience):
                    await self._complete.wait()
        if self._failure is not None:
            raise self._failure
        if not self._seated:
            self._seat_all()
        if self._numbered:
            return d.Seat(0, 0, 0, self._key)
        return self._seat(0, self._own)

    def give(self, record: str) -> None:
        """Give the hub's record to all, also to those that come later."""
        self._record = record
        self._tell(d.TheRecord(record))

    def end(self, error: RunnerError, *, said: bool = True) -> None:
        """Tell all that the launch is over, also those that come later."""
        parts = error.saw, error.needed, error.do
        self._over = d.TurnedAway(*parts, error.status, said)
        self._tell(self._over)

    def listen(self, hear: Callable[[Message], None]) -> None:
        """Tell *hear* of ranks that are absent, also of those that were before."""
        self._hear = hear
        for message in self._absent:
            hear(message)

    def _tell(self, message: Message) -> None:
        for guest in self._guests:
            guest.channel.send(message)

    async def refuse_all(self, error: RunnerError, seconds: float) -> None:
        """Answer the others with the error that keeps this process from starting.

        Parameters
        ----------
        error : RunnerError
        seconds : float
            How long to answer.
        """
        self._known = self.came
        self.begin()
        self.end(error)
        await self.turn_away(seconds)

    async def turn_away(self, seconds: float = STAY_SECONDS) -> None:
        """Tell those that are still to come as well, for a moment, that all is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._known < self._size:
                    self._changed.clear()
                    await self._changed.wait()

    # --- one of the others --------------------------------------------------

    def _refuse(self, address: str, why: str) -> None:
        if not self._stranger_seen:
            self._stranger_seen = True
            say(f"warning: refused a connection from {address}: {why}")

    async def _meet(self, channel: Channel, address: str) -> None:
        try:
            async with asyncio.timeout(COME_SECONDS):
                come = await channel.receive()
        except (TimeoutError, ProtocolError) as error:
            self._refuse(address, str(error) or "it says nothing")
            return
        if not isinstance(come, d.Come | d.Fails):
            return  # it has left, or is no rank, though it has the key
        await self._begun.wait()
        if isinstance(come, d.Fails):
            self._cannot_begin(come)
            return
        if (refusal := self._over or self._refusal(come)) is not None:
            channel.send(refusal)
            self._known += 1
            self._changed.set()
            await channel.closed()
            return
        guest = _Guest(channel, come)
        self._guests.append(guest)
        self._welcome(guest)
        try:
            while (message := await channel.receive()) is not None:
                if isinstance(message, d.Fails):
                    parts = message.saw, message.needed, message.do, message.status
                    what = failed(guest.rank, *parts)
                    self._say(replace(what, host=guest.come.node))
        except ProtocolError:
            pass  # it sends garbage, so it counts as gone
        self._left(guest)

    def _cannot_begin(self, fails: d.Fails) -> None:
        """Hear of a process that has not come and will not."""
        parts = fails.saw, fails.needed, fails.do
        if self._numbered:
            self._known += 1
            self._changed.set()
            taken = {guest.rank for guest in self._guests}
            if fails.rank in set(range(1, self._size)) - taken:
                what = failed(fails.rank, *parts, fails.status)
                self._say(replace(what, host=fails.node))
        elif not self._seated:
            error = RunnerError(f"a process on {fails.node} cannot begin", *parts[1:])
            error.status, error.printed = fails.status, True
            self._failure = error
            self._known = self.came + 1
            self.end(error)
            self._complete.set()

    def _refusal(self, come: d.Come) -> d.TurnedAway | None:
        here = socket.gethostname()
        if come.size != self._size:
            return _turned_away(
                ConfigError(
                    f"--size {come.size} on {come.node}, and the first process, on "
                    f"{here}, has --size {self._size}",
                    "one size for a launch",
                    "give all its processes the same --size, or another --name",
                )
            )
        if not self._numbered and self.came >= self._size:
            return _turned_away(
                ConfigError(
                    f"all {self._size} ranks of this launch have come already; the "
                    f"first is on {here}",
                    f"no more than {self._size} processes",
                    "start as many as --size says; give another launch another --name",
                )
            )
        taken = {guest.rank for guest in self._guests} | {0}
        if self._numbered and (come.rank in taken or not 0 < come.rank < self._size):
            return _turned_away(
                ConfigError(
                    f"rank {come.rank} on {come.node}, where rank 0, on {here}, has "
                    f"{self._size} ranks"
                    + (", and that one" if come.rank in taken else ""),
                    "each rank once, and one launch at this address",
                    "give each launch an address, or a secret, of its own",
                )
            )
        return None

    def _welcome(self, new: _Guest) -> None:
        if self._seated:
            new.rank = new.come.rank if self._numbered else self._free()
            local = self._seat(new.rank, new.come)
            number = d.Seat(new.rank, 0, 0, self._key)
            new.channel.send(number if self._numbered else local)
            if self._record is not None:
                new.channel.send(d.TheRecord(self._record))
            return
        self._tell(d.Waiting(self.came))
        self._check_complete()
        if self._complete.is_set():
            self._seat_all()

    def _seat_all(self) -> None:
        """Give numbers to all that are there; ranks of a node have them in a row."""
        self._seated = True
        places = list(dict.fromkeys(come.place for come in self._there))
        self._guests.sort(key=lambda guest: places.index(guest.come.place))
        for rank, guest in enumerate(self._guests, 1):
            guest.rank = rank
        for guest in self._guests:
            guest.channel.send(self._seat(guest.rank, guest.come))

    def _check_complete(self) -> None:
        if self.came >= self._size:
            self._complete.set()

    def _free(self) -> int:
        taken = {guest.rank for guest in self._guests}
        return next(rank for rank in range(1, self._size) if rank not in taken)

    def _seat(self, rank: int, come: d.Come) -> d.Seat:
        ranks = [guest.rank for guest in self._guests if guest.come.place == come.place]
        ranks = sorted([*ranks, 0] if come.place == self._own.place else ranks)
        return d.Seat(rank, ranks.index(rank), len(ranks), self._key)

    def _left(self, guest: _Guest) -> None:
        if guest.rank >= 0:
            # The hub ignores this of a rank that has joined.
            what = "died before it joined"
            self._say(m.Absent(guest.rank, what, host=guest.come.node))
            return
        self._guests.remove(guest)
        self._tell(d.Waiting(self.came))

    def _say(self, message: Message) -> None:
        self._absent.append(message)
        if self._hear is not None:
            self._hear(message)


def _turned_away(error: RunnerError) -> d.TurnedAway:
    return d.TurnedAway(error.saw, error.needed, error.do, error.status, said=False)
