"""How the ranks find rank 0: one record, and the ways by which it travels.

Rank 0 publishes the record; the others look for it until they have spoken to
the hub that it names. A record may be stale (its hub is dead), foreign or half
written; none of these is believed, and each is named when time runs out.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import time
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Protocol

from dask_runner.errors import AssemblyError, ConfigError
from dask_runner.meeting.words import NoWords, Words

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

#: Seconds between looks for a record: a thousand nodes must not hammer a file
#: system or a hub, and a cluster of two must not wait for it.
FIRST_POLL = 0.02
LAST_POLL = 1.0

#: Part of the time for all to arrive in which rank 0 has to hand its record over,
#: where that takes all ranks: its word on that says more than that nobody arrived.
HAND_OVER = 0.9

#: Bytes of the hub's secret.
SECRET = 32


class BadRecordError(Exception):
    """What was found is no record to believe; the text says why."""


class UnusableError(Exception):
    """No rank of the launch can go this way; the text says why."""


@dataclass(frozen=True, slots=True)
class Record:
    """Where the hub is, and what proves that one may speak to it.

    Attributes
    ----------
    key : str
        The World's key: a record of another launch is not for us.
    nonce : str
        New at every start.
    node, host, port
        The hub's node name and TCP address.
    secret : str
        Hexadecimal; authenticates all that goes over the hub.
    certificate, private_key : str
        TLS material in PEM, or empty. It travels in the record and not over
        the hub, which authenticates but does not encrypt.
    address : str
        The Dask scheduler's address; empty until it is known.
    """

    key: str
    nonce: str
    node: str
    host: str
    port: int
    secret: str
    certificate: str
    private_key: str
    address: str = ""

    def dump(self) -> str:
        """Write as JSON that is also a Dask scheduler file.

        ``address`` is left out until it is known: Dask's readers retry on a
        file without it (``distributed.Client``, ``scheduler_file``).
        """
        dask = {"type": "Scheduler", "id": f"dask-runner-{self.nonce}", "workers": {}}
        if self.address:
            dask["address"] = self.address
        return json.dumps({**dask, "runner": asdict(self)}, indent=1)

    @classmethod
    def load(cls, text: str) -> Record:
        """Read what :meth:`dump` wrote.

        Raises
        ------
        BadRecordError
            If the text is anything else.
        """
        try:
            values = json.loads(text)["runner"]
            record = cls(**values)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise BadRecordError("is half-written or no record of ours") from error
        for field in fields(cls):
            if type(getattr(record, field.name)).__name__ != field.type:
                raise BadRecordError(f"has a wrong value for {field.name!r}")
        if not 0 < record.port < 1 << 16:
            raise BadRecordError(f"names the port {record.port}")
        try:
            ipaddress.ip_address(record.host)
            secret = bytes.fromhex(record.secret)
        except ValueError as error:
            raise BadRecordError("has a wrong value for 'host' or 'secret'") from error
        if len(secret) != SECRET:
            raise BadRecordError(f"has a secret of {len(secret)} bytes, not {SECRET}")
        return record


class Meeting(Protocol):
    """A way for the record to travel from rank 0 to the others."""

    @property
    def words(self) -> Words:
        """Where ranks that do not meet leave word of why the launch is over."""

    @property
    def collective(self) -> bool:
        """Whether every rank has to come itself, as to a broadcast of MPI."""

    @property
    def has_come(self) -> bool:
        """Whether the record is here, fresh from rank 0, so that its hub answers."""

    async def publish(self, record: Record) -> None:
        """Make the record known (rank 0)."""

    def records(self) -> AsyncIterator[Record]:
        """Yield what is found, again and again, for as long as it is asked."""

    @property
    def files(self) -> tuple[str, ...]:
        """Where the record is, if this rank has written it into files."""

    async def settle(self) -> None:
        """Wait until nothing of it is under way."""

    def adopt(self, record: Record) -> None:
        """Answer for the record of a rank 0 that is gone (another rank)."""

    def withdraw(self) -> None:
        """Leave nothing behind (rank 0, and who has adopted its record)."""

    @property
    def trouble(self) -> str:
        """What was seen last instead of a good record."""


class NoMeeting:
    """There is one rank, which knows its own hub."""

    trouble = "there is nobody to meet"
    words: Words = NoWords()
    has_come = False
    collective = False
    files = ()

    async def publish(self, record: Record) -> None:
        """Nobody looks for it."""

    async def records(self) -> AsyncIterator[Record]:
        """Offer nothing."""
        return
        yield  # a generator, that never does

    async def settle(self) -> None:
        """Nothing is under way."""

    def adopt(self, record: Record) -> None:
        """There is nothing to remove."""

    def withdraw(self) -> None:
        """There is nothing to remove."""


class HandOver(Protocol):
    """A collective broadcast from rank 0."""

    async def __call__(self, text: str | None) -> str:
        """Give (rank 0) or receive (None) the record's text.

        Raises
        ------
        UnusableError
            If no rank can, and they may meet in another way.
        RunnerError
            If this rank cannot.
        """


class RelayMeeting:
    """The record travels by somebody else's hand, in one broadcast.

    Parameters
    ----------
    hand_over : callable
        Coroutine function: rank 0 gives the record's text, the others None;
        returns the text of the record at every rank.
    waits : callable, optional
        Says what is waited for while it has not come.
    settle : callable, optional
        Coroutine function: what :meth:`settle` does.
    seconds : float, optional
        For all ranks to arrive. Rank 0 hands the record over before; the other
        ranks' time is their caller's.
    words : Words, optional
        Where last words go.
    """

    collective = True

    def __init__(
        self,
        hand_over: HandOver,
        *,
        waits: Callable[[], str] = lambda: "its record has not come",
        settle: Callable[[], Awaitable[None]] | None = None,
        seconds: float | None = None,
        words: Words | None = None,
    ) -> None:
        self.words = words or NoWords()
        self._hand_over = hand_over
        self._waits = waits
        self._settle = settle
        self._seconds = seconds and seconds * HAND_OVER
        self._record: Record | None = None

    async def publish(self, record: Record) -> None:
        """Hand it over, once; what is new later goes over the hub.

        Raises
        ------
        AssemblyError
            If the others do not take it in time.
        """
        if self._record is not None:
            return
        try:
            async with asyncio.timeout(self._seconds):
                await self._hand_over(record.dump())
        except TimeoutError as error:
            raise AssemblyError(
                f"rank 0 waited {self._seconds:.0f} s for the other ranks: "
                f"{self._waits()}",
                "all ranks that the launcher has started, each running dask-runner",
                "look for errors of these ranks above; give more time with --timeout",
            ) from error
        self._record = record

    async def records(self) -> AsyncIterator[Record]:
        """Receive the record, then offer it again and again."""
        try:
            record = Record.load(await self._hand_over(None))
        except BadRecordError as error:
            raise ConfigError(
                f"the record that rank 0 handed over {error}",
                "the same dask-runner in all ranks",
                "start all ranks from one image",
            ) from error
        self._record = record
        pause = FIRST_POLL
        while True:
            yield record
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LAST_POLL)

    @property
    def has_come(self) -> bool:
        """Whether it has been handed over."""
        return self._record is not None

    @property
    def files(self) -> tuple[str, ...]:
        """None: it is handed over."""
        return ()

    async def settle(self) -> None:
        """Let who carries the record come to an end."""
        if self._settle is not None:
            await self._settle()

    def adopt(self, record: Record) -> None:
        """There is nothing to remove."""

    def withdraw(self) -> None:
        """There is nothing to remove."""

    @property
    def trouble(self) -> str:
        """What is waited for."""
        if self._record is None:
            return self._waits()
        hub = f"{self._record.host}:{self._record.port}"
        return f"the hub on {self._record.node} ({hub}) is silent"


def with_address(record: Record, address: str) -> Record:
    """Return the record, completed with the scheduler's address."""
    return replace(record, address=address)


def waited(rank: int, node: str, since: float, meeting: Meeting) -> AssemblyError:
    """Say that the record was not found in time."""
    seconds = time.monotonic() - since
    return AssemblyError(
        f"rank {rank} on {node} waited {seconds:.0f} s for rank 0: {meeting.trouble}",
        "rank 0 running, and a way to it",
        "look for an error of rank 0 above; name another directory that the nodes "
        "share with --scheduler-file; give more time with --timeout",
    )
