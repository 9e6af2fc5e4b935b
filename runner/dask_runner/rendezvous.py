"""How the ranks find rank 0: one record, and the ways by which it travels.

Rank 0 publishes the record; the others look for it until they have spoken to
the hub that it names. A record may be stale (its hub is dead), foreign or half
written; none of these is believed, and each is named when time runs out.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import random
import secrets
import stat
import time
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dask_runner.errors import AssemblyError, ConfigError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from dask_runner.world import World

#: Seconds between looks at a directory: a thousand nodes must not hammer a file
#: system, and a cluster of two must not wait for it.
FIRST_POLL = 0.02
LAST_POLL = 1.0
#: Bytes; a record is about 2 kB.
LARGEST = 1 << 16

#: Seconds after which a rank that could not write the record anywhere itself
#: stops waiting for one: rank 0, which has said so, is long gone.
HOPELESS = 10.0

DIRECTORY = ".dask-runner"
#: What the name of the directory begins with in which local ranks meet.
PRIVATE = "dask-runner-local-"

#: Bytes of the hub's secret.
SECRET = 32

#: Times that a directory is made anew: another cluster of the same user removes
#: it when it leaves and finds it empty, between our making and our writing.
TRIES = 10


class BadRecordError(Exception):
    """What was found is no record to believe; the text says why."""


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

    async def publish(self, record: Record) -> None:
        """Make the record known (rank 0)."""

    def records(self) -> AsyncIterator[Record]:
        """Yield what is found, again and again, for as long as it is asked."""

    async def settle(self) -> None:
        """Wait until nothing of it is under way."""

    def adopt(self, record: Record) -> None:
        """Answer for the record of a rank 0 that is gone (another rank)."""

    def withdraw(self) -> None:
        """Leave nothing behind (rank 0, and who has adopted its record)."""

    @property
    def trouble(self) -> str:
        """What was seen last instead of a good record."""


class FileMeeting:
    """The record is a file in a directory that all ranks share.

    Parameters
    ----------
    paths : iterable of Path
        Where it may be. Rank 0 writes all that it can and the others look at all:
        a home that each node has for itself, or that only some can write, must not
        stop the job.
    key : str
    """

    def __init__(self, paths: Iterable[Path], key: str) -> None:
        self._paths = tuple(paths)
        self._key = key
        self._written: list[Path] = []
        self._nonce = ""
        self._trouble: dict[Path, str] = {}

    async def publish(self, record: Record) -> None:
        """Write each file aside, mode 0600, and move it into place.

        Raises
        ------
        ConfigError
            If no directory takes it.
        """
        written, refusals = [], []
        for path in self._written or self._paths:
            try:
                _place(path, record.dump())
            except OSError as error:
                refusals.append(f"{path}: {error.strerror or error}")
            else:
                written.append(path)
        if not written:
            raise _unwritable("; ".join(refusals))
        self._written, self._nonce = self._written or written, record.nonce

    async def records(self) -> AsyncIterator[Record]:
        """Look into the directories, less and less often.

        Raises
        ------
        ConfigError
            If nothing is found for some time where this rank, and so most
            likely rank 0, cannot write either.
        """
        pause = FIRST_POLL
        began = time.monotonic()
        while True:
            if time.monotonic() > began + HOPELESS and not any(
                path.exists() or _writable(path.parent) for path in self._paths
            ):
                raise _unwritable(self.trouble)
            for path in self._paths:
                try:
                    yield self._read(path)
                except FileNotFoundError:
                    self._trouble[path] = "does not exist"
                except OSError as error:
                    self._trouble[path] = f"cannot be read: {error.strerror}"
                except BadRecordError as error:
                    self._trouble[path] = str(error)
            await asyncio.sleep(pause * random.uniform(0.7, 1.3))  # noqa: S311
            pause = min(pause * 1.5, LAST_POLL)

    def _read(self, path: Path) -> Record:
        # Reading the directory makes an NFS client ask its server anew, where it
        # would go on to believe for half a minute that the file does not exist.
        if path.name not in os.listdir(path.parent):  # noqa: PTH208  names only
            raise FileNotFoundError(path)
        if path.is_symlink():
            raise BadRecordError("is a symbolic link")
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise BadRecordError("is no regular file")
            if found.st_uid != os.geteuid():
                raise BadRecordError(f"belongs to uid {found.st_uid}, not to us")
            if stat.S_IMODE(found.st_mode) & 0o077:
                mode = stat.S_IMODE(found.st_mode)
                raise BadRecordError(f"can be read by others (mode {mode:04o})")
            try:
                record = Record.load(os.read(descriptor, LARGEST).decode())
            except UnicodeDecodeError as error:
                raise BadRecordError("is no text") from error
        finally:
            os.close(descriptor)
        if record.key != self._key:
            raise BadRecordError(f"belongs to another launch ({record.key})")
        self._trouble[path] = (
            f"names a hub on {record.node} ({record.host}:{record.port}) "
            "that does not answer"
        )
        return record

    async def settle(self) -> None:
        """Nothing is under way."""

    def adopt(self, record: Record) -> None:
        """Withdraw the files that a lost rank 0 has written."""
        self._written, self._nonce = list(self._paths), record.nonce

    def withdraw(self) -> None:
        """Remove each file that is still the one that we wrote."""
        for path in self._written:
            # What is gone, replaced, or has other records beside it stays so.
            with contextlib.suppress(OSError, BadRecordError):
                if self._read(path).nonce == self._nonce:
                    path.unlink()
                own = path.parent.name
                if own == DIRECTORY or own.startswith(PRIVATE):
                    path.parent.rmdir()
        self._written = []

    @property
    def trouble(self) -> str:
        """What was last seen at each path."""
        return "; ".join(
            f"{path} {self._trouble.get(path, 'was not looked at')}"
            for path in self._paths
        )


def _unwritable(saw: str) -> ConfigError:
    return ConfigError(
        f"rank 0 cannot write the file by which the ranks meet: {saw}",
        "a directory that all nodes share and rank 0 can write",
        "name one with --scheduler-file DIR/scheduler-{job_id}.json",
    )


def _writable(directory: Path) -> bool:
    while not directory.exists():
        directory = directory.parent
    return os.access(directory, os.W_OK | os.X_OK)


def _place(path: Path, text: str) -> None:
    for left in reversed(range(TRIES)):
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(path, text)
        except (FileNotFoundError, FileExistsError):
            # FileExistsError: it was there for mkdir(2), and then no more.
            if not left:
                raise
        else:
            return


def _write(path: Path, text: str) -> None:
    # The directory may be one in which others can write, as /tmp: a name that
    # nobody can guess and lay a file or a link under.
    aside = path.with_name(f".{secrets.token_hex(8)}.aside")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        aside.replace(path)
    except OSError:
        with contextlib.suppress(OSError):  # what went wrong first is what counts
            aside.unlink()
        raise


def file_meeting(
    world: World, environ: Mapping[str, str], scheduler_file: str | None
) -> FileMeeting:
    """Choose the places for the file.

    With a ``scheduler_file`` that one alone; otherwise the home directory and
    the working directory, which sites share over their nodes.
    """
    if scheduler_file:
        name = scheduler_file.replace("{job_id}", world.job_id)
        return FileMeeting([Path(name).expanduser().absolute()], world.key)
    name = f"{world.key}.json"
    places = [Path.cwd() / DIRECTORY]
    if environ.get("HOME"):
        places.insert(0, Path(environ["HOME"]) / DIRECTORY)
    return FileMeeting([place / name for place in places], world.key)


class NoMeeting:
    """There is one rank, which knows its own hub."""

    trouble = "there is nobody to meet"

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


class RelayMeeting:
    """The record travels by somebody else's hand: an MPI broadcast.

    Parameters
    ----------
    hand_over : callable
        Coroutine function: rank 0 gives the record's text, the others None;
        returns the text of the record at every rank.
    """

    def __init__(self, hand_over: HandOver) -> None:
        self._hand_over = hand_over
        self._published = False
        self.trouble = "the MPI broadcast has not come"

    async def publish(self, record: Record) -> None:
        """Broadcast, once; what is new later goes over the hub."""
        if not self._published:
            self._published = True
            await self._hand_over(record.dump())

    async def records(self) -> AsyncIterator[Record]:
        """Receive the broadcast, then offer it again and again."""
        try:
            record = Record.load(await self._hand_over(None))
        except BadRecordError as error:
            raise ConfigError(
                f"the record that rank 0 broadcast {error}",
                "the same dask-runner in all ranks",
                "start all ranks from one image",
            ) from error
        self.trouble = (
            f"the hub on {record.node} ({record.host}:{record.port}) is silent"
        )
        pause = FIRST_POLL
        while True:
            yield record
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LAST_POLL)

    async def settle(self) -> None:
        """Nothing is under way."""

    def adopt(self, record: Record) -> None:
        """There is nothing to remove."""

    def withdraw(self) -> None:
        """There is nothing to remove."""


class HandOver(Protocol):
    """A collective broadcast from rank 0."""

    async def __call__(self, text: str | None) -> str:
        """Give (rank 0) or receive (None) the record's text."""


def with_address(record: Record, address: str) -> Record:
    """Return the record, completed with the scheduler's address."""
    return replace(record, address=address)


def waited(rank: int, node: str, since: float, meeting: Meeting) -> AssemblyError:
    """Say that the record was not found in time."""
    seconds = time.monotonic() - since
    return AssemblyError(
        f"rank {rank} on {node} waited {seconds:.0f} s for rank 0: {meeting.trouble}",
        "rank 0 running, and a way to it",
        "look for an error of rank 0 above; if the nodes share another directory, "
        "name it with --scheduler-file; more time: --timeout",
    )
