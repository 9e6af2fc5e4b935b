"""PMI-1: the key-value space that an MPI launcher keeps for its ranks.

One request, one answer, each a line ``cmd=NAME key=value ...``, over a socket
that the launcher left open for its child (``PMI_FD``) or that it listens on
(``PMI_PORT``). This is the whole of what MPI itself asks of Hydra, so it is
there under every ``mpiexec`` of MPICH and Intel MPI, with no MPI in the image.

Requests and answers are those of MPICH's ``src/pmi`` (version 1.1), tried with
Hydra of MPICH 3.4, 4.0, 4.2, 4.3 and 5.0, gforker, and Intel MPI 2021.18:

- what one rank puts is sure to be seen by others after a barrier, and not
  before (Hydra before 4.3 and Intel's answer from a copy);
- a value of ``vallen_max`` characters or more may be cut silently;
- after ``finalize`` the launcher closes its end, so that the socket serves once:
  neither MPI nor another cluster can use it later; without, a second ``init`` is
  answered as the first was;
- a rank that ends between ``init`` and ``finalize`` ends the whole job, and may do
  so with status 0.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from dask_runner.launch.numbers import parse_digits_or_none

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Seconds for one answer. They come from the launcher's proxy on the same node,
#: or from mpiexec, which serves all ranks in turn.
ANSWER_SECONDS = 30.0
#: Seconds for it to end all ranks.
ABORT_SECONDS = 2.0

_VERSION = "pmi_version=1 pmi_subversion=1"
#: Least that a launcher has to allow (MPICH's own clients ask for as much).
_LEAST_VALUE = 64
#: Of an answer, in a message.
_SHOWN = 80


class PmiError(Exception):
    """The launcher's end is gone, or does not answer as it should."""


class SilentError(PmiError):
    """Nobody speaks PMI-1 here."""


@dataclass(frozen=True, slots=True)
class Wire:
    """The way to the launcher's end.

    Attributes
    ----------
    name : str
        As the environment says it; for messages.
    descriptor : int or None
        An open socket, inherited from the launcher.
    address : (str, int) or None
        Where the launcher listens, if there is no socket.
    rank : str
        Which rank connects.
    """

    name: str
    descriptor: int | None
    address: tuple[str, int] | None
    rank: str


def wire(environ: Mapping[str, str]) -> Wire:
    """Return the way to the launcher's end.

    Raises
    ------
    SilentError
        If the environment names none, or one that is not open here.
    """
    if "PMI_FD" in environ:
        name = f"PMI_FD={environ['PMI_FD']}"
        inherited = descriptor(environ)
        if inherited is None:
            raise SilentError(f"{name} is no socket that the launcher has left open")
        return Wire(name, inherited, None, "")
    if "PMI_PORT" not in environ:
        raise SilentError("neither PMI_FD nor PMI_PORT is set")
    name = f"PMI_PORT={environ['PMI_PORT']}"
    host, _, port = environ["PMI_PORT"].rpartition(":")
    rank = environ.get("PMI_ID", environ.get("PMI_RANK", ""))
    number = parse_digits_or_none(port) or 0
    if not (host and 0 < number < 1 << 16 and rank):
        raise SilentError(f"{name} PMI_ID={rank} name no address and rank")
    return Wire(name, None, (host, number), rank)


def descriptor(environ: Mapping[str, str]) -> int | None:
    """Return the number of the socket that the launcher has left open, if any."""
    try:
        number = int(environ.get("PMI_FD", ""))
        # What Python opens is not inheritable: under a number that a wrapper has
        # closed there may be a socket of our own.
        inherited = os.get_inheritable(number)
        return number if inherited and stat.S_ISSOCK(os.fstat(number).st_mode) else None
    except (ValueError, OverflowError, OSError):
        return None


def another(wire: Wire) -> Wire:
    """Return a way over a socket that can be closed while the launcher's stays open.

    Raises
    ------
    SilentError
        If there is none: a launcher takes one connection of each rank.
    """
    if wire.descriptor is None:
        raise SilentError(f"{wire.name} serves a rank once, and MPI needs it")
    return replace(wire, descriptor=os.dup(wire.descriptor))


def restore(environ: Mapping[str, str]) -> None:
    """Make a socket that the launcher has left wait for answers, as MPI expects."""
    if (inherited := descriptor(environ)) is not None:
        # It does not since a copy was used: that holds for all copies of a descriptor.
        os.set_blocking(inherited, True)


class Space:
    """The key-value space of this launch, from ``init`` to ``finalize``.

    Attributes
    ----------
    longest : int
        Characters that a value may have.
    doing : str
        What the launcher has not done yet; for a message when time runs out.
    """

    def __init__(
        self, wire: Wire, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._wire = wire
        self._reader = reader
        self._writer = writer
        self._name = ""
        self._closed = False
        self.longest = 0
        self.doing = ""

    @classmethod
    async def open(cls, wire: Wire) -> Self:
        """Greet the launcher, and learn the name of the space.

        Raises
        ------
        SilentError
            If nobody is there, or speaks another language.
        PmiError
            If it fails later.
        """
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                reader, writer = await _connect(wire)
        except (OSError, ValueError) as error:
            raise SilentError(f"{wire.name} leads to nobody ({error})") from error
        space = cls(wire, reader, writer)
        try:
            await space._greet()
        except BaseException:
            space.drop()
            raise
        return space

    async def _greet(self) -> None:
        try:
            if self._wire.address is not None:
                await self._ask("initack", f"pmiid={self._wire.rank}", "initack")
                for name in ("size", "rank", "debug"):
                    await self._answer("set", f"its {name}")
            answer = await self._ask("init", _VERSION, "response_to_init")
        except PmiError as error:
            raise SilentError(str(error)) from error
        if answer.get("pmi_version") != "1":
            raise SilentError(f"{self._wire.name} does not speak PMI-1")
        try:
            maxes = await self._ask("get_maxes", "", "maxes")
            # One less: some count the end of a C string.
            self.longest = int(maxes.get("vallen_max", "")) - 1
            names = await self._ask("get_my_kvsname", "", "my_kvsname")
        except ValueError as error:
            raise PmiError(f"{self._wire.name} tells no vallen_max") from error
        self._name = names.get("kvsname", "")
        if self.longest < _LEAST_VALUE or not self._name:
            raise PmiError(f"{self._wire.name} offers no key-value space")

    async def put(self, key: str, value: str) -> None:
        """Lay down a value: printable ASCII without spaces and ``=``."""
        await self._ask(
            "put", f"kvsname={self._name} key={key} value={value}", "put_result"
        )

    async def get(self, key: str) -> str:
        """Return a value that some rank has put before the last barrier."""
        answer = await self._ask("get", f"kvsname={self._name} key={key}", "get_result")
        if "value" not in answer:
            raise PmiError(f"{self._wire.name} has no value for {key!r}")
        return answer["value"]

    async def barrier(self) -> None:
        """Wait until every rank has come as far as this, however long."""
        self._send("barrier_in", "")
        self.doing = f"not all ranks have come to its barrier ({self._wire.name})"
        await self._answer("barrier_out", "the end of a barrier", patient=True)

    async def finalize(self) -> None:
        """Send ``finalize``, and close the connection."""
        await self._ask("finalize", "", "finalize_ack")
        self.drop()

    async def abort(self, status: int) -> None:
        """Have the launcher end all ranks with this status, also this one.

        Raises
        ------
        PmiError
            If it does not. It may yet, once the socket is closed.
        """
        self._send("abort", f"exitcode={status}")
        try:
            async with asyncio.timeout(ABORT_SECONDS):
                await self._reader.read()
        except (OSError, TimeoutError) as error:
            raise PmiError(f"{self._wire.name} did not abort: {error}") from error
        finally:
            self.drop()

    def drop(self) -> None:
        """Close the socket without ``finalize``."""
        self._writer.close()

    async def _ask(self, command: str, words: str, answer: str) -> dict[str, str]:
        self._send(command, words)
        self.doing = f"it has not answered {command!r} ({self._wire.name})"
        return await self._answer(answer, f"the answer to {command!r}")

    def _send(self, command: str, words: str) -> None:
        line = f"cmd={command} {words}".rstrip()
        self._writer.write(f"{line}\n".encode())

    async def _answer(
        self, command: str, what: str, *, patient: bool = False
    ) -> dict[str, str]:
        try:
            async with asyncio.timeout(None if patient else ANSWER_SECONDS):
                line = await self._reader.readline()
        except TimeoutError as error:
            raise PmiError(
                f"{self._wire.name} was silent for {ANSWER_SECONDS:g} s instead of "
                f"{what}"
            ) from error
        except (OSError, ValueError) as error:  # ValueError: an endless line
            raise PmiError(f"{self._wire.name} broke at {what}: {error}") from error
        if not line.endswith(b"\n"):
            raise PmiError(f"{self._wire.name} was closed instead of {what}")
        words = line.decode(errors="replace").split()
        answer = dict(word.partition("=")[::2] for word in words)
        if answer.get("cmd") != command or answer.get("rc", "0") != "0":
            raise PmiError(
                f"{self._wire.name} gave {line[:_SHOWN].decode('latin-1')!a} "
                f"instead of {what}"
            )
        return answer


async def _connect(
    wire: Wire,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if wire.address is not None:
        return await asyncio.open_connection(*wire.address)
    sock = socket.socket(fileno=wire.descriptor)
    try:
        sock.setblocking(False)
        return await asyncio.open_connection(sock=sock)
    except BaseException:
        sock.close()
        raise
