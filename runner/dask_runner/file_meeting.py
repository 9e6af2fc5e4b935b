"""The rendezvous by a file in a directory that the ranks share."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import stat
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError
from dask_runner.rendezvous import FIRST_POLL, LAST_POLL, BadRecordError, Record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from dask_runner.world import World

#: Bytes; a record is about 2 kB.
LARGEST = 1 << 16

#: Seconds after which a rank that could not write the record anywhere itself
#: stops waiting for one: rank 0, which has said so, is long gone.
HOPELESS = 10.0

DIRECTORY = ".dask-runner"
#: What the name of the directory begins with in which local ranks meet.
PRIVATE = "dask-runner-local-"

#: Times that a directory is made anew: another cluster of the same user removes
#: it when it leaves and finds it empty, between our making and our writing.
TRIES = 10


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

    collective = False

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

    @property
    def files(self) -> tuple[str, ...]:
        """Those that this rank has written."""
        return tuple(map(str, self._written))

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
    return FileMeeting(_shared(world, environ), world.key)


def node_meeting(world: World, environ: Mapping[str, str]) -> FileMeeting:
    """Choose the places for ranks that are all on one node.

    There the directory for temporary files will do as well, where neither home nor
    working directory can be written; it comes last, because Apptainer may give
    each rank one of its own (``--contain``).
    """
    temporary = Path(tempfile.gettempdir()) / f"{PRIVATE}{world.key}" / "record.json"
    return FileMeeting([*_shared(world, environ), temporary], world.key)


def _shared(world: World, environ: Mapping[str, str]) -> list[Path]:
    name = f"{world.key}.json"
    places = [Path.cwd() / DIRECTORY]
    if environ.get("HOME"):
        places.insert(0, Path(environ["HOME"]) / DIRECTORY)
    return [place / name for place in places]
