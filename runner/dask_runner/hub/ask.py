"""Ask a hub from outside the launch (:mod:`dask_runner.hub.requests`)."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from dask_runner.errors import (
    AssemblyError,
    ConfigError,
    RunnerError,
    UnavailableError,
    UsageError,
)
from dask_runner.hub.messages import Ping
from dask_runner.hub.pings import OUTSIDE_PING_SECONDS, OUTSIDE_SILENCE_SECONDS
from dask_runner.hub.requests import Denied, WillEnd
from dask_runner.wire import mutual_tls
from dask_runner.wire.message import Message, ProtocolError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dask_runner.hub.requests import Request
    from dask_runner.meeting.record import Record
    from dask_runner.wire.channel import Channel

#: Seconds for the connection and the first answer.
SECONDS = 5.0
#: The same where the hub of a cluster that was killed may be asked, and others wait.
QUICK_SECONDS = 3.0

T = TypeVar("T", bound=Message)


class SilentError(Exception):
    """The hub does not answer; the text says how.

    Attributes
    ----------
    gone : bool
        Whether its host says that nothing, or something else, listens there.
    """

    def __init__(self, how: str, *, gone: bool) -> None:
        super().__init__(how)
        self.gone = gone


@asynccontextmanager
async def asking(
    record: Record, request: Request, seconds: float = SECONDS
) -> AsyncIterator[Channel]:
    """Connect to the hub, and send it a request.

    Parameters
    ----------
    record : Record
    request : Request
    seconds : float
        For the connection.

    Raises
    ------
    SilentError
        If the hub cannot be reached.
    """
    channel = await connected(record, seconds)
    try:
        channel.send(request)
        yield channel
    except BaseException:
        channel.abort()  # a hub that is silent is not waited for
        raise
    finally:
        await channel.closed()


async def connected(record: Record, seconds: float = SECONDS) -> Channel:
    """Connect to the hub, or another server that a record names.

    Raises
    ------
    SilentError
        If it cannot be reached.
    """
    try:
        async with asyncio.timeout(seconds):
            return await mutual_tls.connect(record, seconds)
    except TimeoutError as error:
        raise SilentError(f"no answer within {seconds:g} s", gone=False) from error
    except (ConnectionRefusedError, mutual_tls.StrangerError) as error:
        raise _not_there(record, error) from error
    except OSError as error:
        how = error.strerror or str(error) or "the connection breaks off"
        raise SilentError(how, gone=False) from error


def _not_there(record: Record, error: Exception) -> SilentError:
    if _on_another_loopback(record):
        how = f"that is the loopback of {record.node} alone, and this is {_here()}"
        return SilentError(how, gone=False)
    if isinstance(error, mutual_tls.StrangerError):
        return SilentError(f"something else listens there: {error}", gone=True)
    return SilentError("nothing listens there", gone=True)


def _on_another_loopback(record: Record) -> bool:
    # A container, or another machine with the same home directory: what listens at our
    # loopback, or does not, says nothing about the hub.
    loopback = ipaddress.ip_address(record.host).is_loopback
    return loopback and record.node != _here()


def _here() -> str:
    return socket.gethostname()


async def answer(channel: Channel, kind: type[T], seconds: float = SECONDS) -> T:
    """Return the hub's next answer, of a kind.

    Raises
    ------
    SilentError
        If none comes, or another than that.
    RunnerError
        If the hub denies the request.
    """
    try:
        async with asyncio.timeout(seconds):
            message = await channel.receive()
    except TimeoutError as error:
        raise SilentError(f"no answer within {seconds:g} s", gone=False) from error
    except ProtocolError as error:
        raise SilentError(f"it sent {error}", gone=False) from error
    if isinstance(message, Denied):
        raise _denied(message)
    if not isinstance(message, kind):
        how = f"it sent {message!r:.60}" if message else "it closed the connection"
        raise SilentError(how, gone=False)
    return message


def _denied(message: Denied) -> RunnerError:
    kinds = (UsageError, ConfigError, AssemblyError, UnavailableError)
    by_status = {kind.status: kind for kind in kinds}
    kind = by_status.get(message.status, RunnerError)
    return kind(message.saw, message.needed, message.do)


async def last_word(channel: Channel) -> WillEnd | None:
    """Return what the hub says at the end of a cluster that this process attends.

    Returns
    -------
    WillEnd or None
        None if the connection breaks off.

    Raises
    ------
    SilentError
        If it gives no sign of life.
    """
    silent_for = 0.0
    receiving = asyncio.create_task(channel.receive())
    try:
        while silent_for < OUTSIDE_SILENCE_SECONDS:
            await asyncio.wait({receiving}, timeout=OUTSIDE_PING_SECONDS)
            if not receiving.done():
                # Counted and not read from a clock, which goes on while this process
                # is stopped.
                silent_for += OUTSIDE_PING_SECONDS
                continue
            message = receiving.result()
            if not isinstance(message, Ping):
                return message if isinstance(message, WillEnd) else None
            silent_for = 0.0
            receiving = asyncio.create_task(channel.receive())
    except (ProtocolError, OSError):
        return None
    finally:
        receiving.cancel()
    raise SilentError(f"no sign of life for {OUTSIDE_SILENCE_SECONDS:g} s", gone=False)


async def ask(
    record: Record, request: Request, kind: type[T], seconds: float = SECONDS
) -> T:
    """Return the answer to a request that has one.

    *seconds* is for the connection, and again for the answer.

    Raises
    ------
    SilentError, RunnerError
        As in :func:`asking` and :func:`answer`.
    """
    async with asking(record, request, seconds) as channel:
        return await answer(channel, kind, seconds)


def silent(name: str, record: Record, age: float, why: SilentError) -> UnavailableError:
    """Return the error about a cluster that does not answer.

    Parameters
    ----------
    name : str
        The cluster's.
    record : Record
    age : float
        Seconds since its last sign of life.
    why : SilentError
    """
    do = (
        f"see whether its job still runs, and whether {record.node} can be reached "
        "from here"
    )
    if _on_another_loopback(record):
        do = (
            f"run this on {record.node} (in a container: docker exec), or start the "
            "cluster with --interface and the network that both have, such as eth0"
        )
    return UnavailableError(
        f"the cluster {name!r} does not answer at {record.host}:{record.port} on "
        f"{record.node}: {why}; its last sign of life came {age:.0f} s ago",
        "its hub, reachable from here",
        do,
    )
