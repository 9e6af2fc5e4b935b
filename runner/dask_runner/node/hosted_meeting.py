"""How ranks meet that ``dask-runner --hosts`` has started.

Each has a socket pair with the part of the launcher on its host
(:mod:`dask_runner.cli.hosted`), over which the record travels, and the news that ranks
of other hosts are gone.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

from dask_runner import linux
from dask_runner.errors import AssemblyError
from dask_runner.hub import messages as m
from dask_runner.launch.numbers import parse_digits_or_none
from dask_runner.launch.own_variables import (
    HOST_MEETING_VARIABLE,
    HOST_PARENT_VARIABLE,
    HOST_RANK_VARIABLE,
)
from dask_runner.meeting.relay import RelayMeeting
from dask_runner.node.hosted_messages import HostGone, HubRecord
from dask_runner.wire.channel import BlockingChannel, open_channel
from dask_runner.wire.message import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dask_runner.errors import RunnerError
    from dask_runner.meeting.record import Record
    from dask_runner.wire.message import Message


class HostedMeeting(RelayMeeting):
    """The record travels over the launcher's connections with the hosts.

    Parameters
    ----------
    descriptor : int
        This rank's end of the socket pair.
    """

    collective = False

    def __init__(self, descriptor: int) -> None:
        super().__init__(self._exchange, waits=lambda: "its host has not sent it yet")
        os.set_inheritable(descriptor, False)
        self._socket = socket.socket(fileno=descriptor)

    def listen(self, hear: Callable[[Message], None]) -> None:
        """Have *hear* told of ranks that are gone; begin to read."""
        self._hear = hear
        self._come: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._opening = asyncio.create_task(open_channel(self._socket))
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        channel = await self._opening
        try:
            while (message := await channel.receive()) is not None:
                if isinstance(message, HubRecord) and not self._come.done():
                    self._come.set_result(message.text)
                elif isinstance(message, HostGone):
                    for rank in message.ranks:
                        self._hear(
                            m.Absent(
                                *(rank, message.saw, message.needed, message.do),
                                status=message.status,
                                host=message.host,
                            )
                        )
        except ProtocolError:
            pass  # it counts as gone
        if not self._come.done():
            self._come.set_result("")

    async def publish(self, record: Record) -> None:
        """Hand it over; also what is new later, for the launcher."""
        if record.address:
            (await self._opening).send(HubRecord(record.dump()))
        await super().publish(record)

    async def _exchange(self, text: str | None) -> str:
        if text is not None:
            (await self._opening).send(HubRecord(text))
            return text
        if found := await self._come:
            return found
        raise AssemblyError(
            "the launcher has ended before the ranks had met",
            "the process that was typed, and its ssh",
            "look for its error",
        )

    async def finished(self) -> None:
        """Hear no more."""
        self._reading.cancel()
        await (await self._opening).closed()


def hosted_meeting(environ: Mapping[str, str]) -> HostedMeeting:
    """Return the meeting of a rank that ``dask-runner --hosts`` has started."""
    return HostedMeeting(int(environ[HOST_MEETING_VARIABLE]))


def has_told(error: RunnerError, environ: Mapping[str, str]) -> bool:
    """Report this rank's error to rank 0, before the rank has joined.

    Return False where this is no such rank, or is rank 0 itself.
    """
    descriptor = environ.get(HOST_MEETING_VARIABLE)
    rank = parse_digits_or_none(environ.get(HOST_RANK_VARIABLE, ""))
    if descriptor is None or not descriptor.isdecimal() or not rank:
        return False
    saw = f"failed before it joined: {error.saw}"
    here = socket.gethostname()
    gone = HostGone([rank], here, saw, error.needed, error.do, error.status)
    try:
        with socket.socket(fileno=int(descriptor)) as launcher:
            BlockingChannel(launcher).send(gone)
    except OSError:
        return False  # the launcher has ended, or this is no rank of its
    return True


def end_with_parent(environ: Mapping[str, str]) -> None:
    """Have the kernel send such a rank SIGTERM when what has started it has died."""
    parent = parse_digits_or_none(environ.get(HOST_PARENT_VARIABLE, ""))
    if parent is not None:
        linux.end_with_parent(parent)
