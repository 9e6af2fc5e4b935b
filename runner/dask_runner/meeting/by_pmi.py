"""A meeting over the key-value space of an MPI launcher (PMI-1)."""

from __future__ import annotations

import base64
import zlib
from typing import TYPE_CHECKING

from dask_runner.errors import LostError
from dask_runner.launch.numbers import parse_digits_or_none, quoted
from dask_runner.meeting import pmi_client
from dask_runner.meeting.base import UnusableError
from dask_runner.meeting.notice import NoNotices
from dask_runner.meeting.relay import RelayMeeting

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dask_runner.meeting.notice import Notice
    from dask_runner.meeting.pmi_client import Space

#: Characters of a piece, where the launcher allows more: with all around it, a
#: line of the length that MPICH's own clients send.
PIECE = 900

#: Keys: how many pieces there are, and each piece.
COUNT = "dask-runner-pieces"
KEY = "dask-runner-{}"

#: Pieces; a record has two or three.
MOST = 99


class PmiExchange:
    """One broadcast from rank 0 over the key-value space.

    Parameters
    ----------
    environ : mapping
        With the launcher's variables.
    for_mpi : bool
        Leave the launcher's socket as it was, for an MPI_Init of this rank.
    """

    def __init__(self, environ: Mapping[str, str], *, for_mpi: bool = False) -> None:
        self._environ = environ
        self._for_mpi = for_mpi
        self._owes_leave = False
        self._space: Space | None = None
        self._over = False

    async def __call__(self, text: str | None) -> str:
        """Send (rank 0) or receive (None) the record's text."""
        try:
            wire = pmi_client.wire(self._environ)
            if self._for_mpi:
                wire = pmi_client.another(wire)
            self._space = space = await pmi_client.Space.open(wire)
        except pmi_client.SilentError as error:
            raise UnusableError(str(error)) from error
        except pmi_client.PmiError as error:
            raise _lost(error) from error
        try:
            if text is not None:
                await _put(space, text)
            await space.barrier()
            if text is None:
                text = await _get(space)
            self._over = True
            if self._for_mpi:
                space.drop()
                pmi_client.restore(self._environ)
                self._owes_leave = True
            else:
                await space.finalize()
        except pmi_client.PmiError as error:
            raise _lost(error) from error
        return text

    async def finished(self) -> None:
        """Send ``finalize`` if MPI has not; else the launcher reports a failure."""
        if not self._owes_leave:
            return
        self._owes_leave = False
        try:
            space = await pmi_client.Space.open(
                pmi_client.another(pmi_client.wire(self._environ))
            )
            await space.finalize()
        except pmi_client.PmiError:
            # MPI has done so, and the launcher has closed its end.
            return

    async def abort(self, status: int) -> None:
        """Have the launcher end all ranks, unless they have met."""
        if self._over:
            return
        try:
            space = self._space or await pmi_client.Space.open(
                pmi_client.wire(self._environ)
            )
            await space.abort(status)
        except pmi_client.PmiError:
            # The launcher is gone, or will see that this rank ends without finalize.
            return

    def drop(self) -> None:
        """Close the socket of an exchange that has failed.

        The launcher kills all ranks at once when one does so, this one included.
        So a rank that has something to say or to tidy up leaves it to its end.
        """
        if self._space is not None:
            self._space.drop()

    @property
    def doing(self) -> str:
        """What the launcher has not done yet."""
        doing = self._space.doing if self._space else "it has not been found"
        return f"the launcher's key-value space: {doing}"


def pmi_meeting(
    environ: Mapping[str, str], seconds: float, *, for_mpi: bool = False
) -> RelayMeeting:
    """Return the meeting over PMI-1, with *seconds* for all ranks to come."""
    exchange = PmiExchange(environ, for_mpi=for_mpi)
    return RelayMeeting(
        exchange,
        waits=lambda: exchange.doing,
        finished=exchange.finished,
        seconds=seconds,
        notices=PmiNotices(exchange),
    )


class PmiNotices(NoNotices):
    """A rank that fails has its launcher end all, and leaves nothing else.

    Hydra ends all at once when a rank fails that has greeted it, but waits for the
    others of one that has not.

    Parameters
    ----------
    exchange : PmiExchange
    """

    def __init__(self, exchange: PmiExchange) -> None:
        self._exchange = exchange
        self._status: int | None = None

    def leave(self, notice: Notice, signed: Iterable[int] = ()) -> bool | None:
        """Keep it until this rank has nothing more to do."""
        del signed
        self._status = notice.status
        return None

    async def taken(self) -> None:
        """End all, this process included."""
        if self._status is not None:
            await self._exchange.abort(self._status)


async def _put(space: Space, text: str) -> None:
    packed = base64.urlsafe_b64encode(zlib.compress(text.encode(), 9))
    # Without the padding: "=" stands between a key and its value.
    value = packed.decode().rstrip("=")
    size = min(space.longest, PIECE)
    pieces = [value[at : at + size] for at in range(0, len(value), size)]
    for number, piece in enumerate(pieces):
        await space.put(KEY.format(number), piece)
    await space.put(COUNT, str(len(pieces)))


async def _get(space: Space) -> str:
    count = await space.get(COUNT)
    pieces = parse_digits_or_none(count) or 0
    if not 0 < pieces <= MOST:
        raise pmi_client.PmiError(f"{COUNT} is {quoted(count)}")
    value = "".join([await space.get(KEY.format(n)) for n in range(pieces)])
    try:
        packed = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
        return zlib.decompress(packed).decode()
    except (ValueError, zlib.error) as error:
        raise pmi_client.PmiError(f"the record came damaged ({error})") from error


def _lost(error: pmi_client.PmiError) -> LostError:
    return LostError(
        f"the launcher's key-value space failed: {error}",
        "a launcher that serves its ranks until they have met (PMI-1)",
        "look for its own messages above; or let the ranks meet by a file: "
        "--scheduler-file FILE",
    )
