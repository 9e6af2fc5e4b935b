"""A meeting by a file in a directory that the ranks share."""

from __future__ import annotations

import asyncio
import contextlib
import random
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError
from dask_runner.meeting import record_file
from dask_runner.meeting.base import FIRST_POLL_SECONDS, LAST_POLL_SECONDS, Meeting
from dask_runner.meeting.notice import NoNotices, OverError
from dask_runner.meeting.record import BadRecordError, Record
from dask_runner.meeting.record_directory import LOCAL_PREFIX, RECORDS
from dask_runner.resources.machine import NETWORK, kind_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping

    from dask_runner.launch.world import World
    from dask_runner.meeting.notice import Notices

#: Seconds after which a rank that could not write the record anywhere itself
#: stops waiting for one: rank 0, which has said so, is long gone.
HOPELESS_SECONDS = 10.0

#: File systems that a container may have for itself alone, beside other ranks' on
#: the node: not to be told from those that it shares with them.
OF_ONE = frozenset({"", "overlay", "fuse-overlayfs", "fuse.fuse-overlayfs"}) | {
    "ramfs",
    "rootfs",
    "tmpfs",
}


def pauses() -> Iterator[float]:
    """Yield the seconds between looks: ever longer, and not the same on all nodes."""
    pause = FIRST_POLL_SECONDS
    while True:
        yield pause * random.uniform(0.7, 1.3)  # noqa: S311
        pause = min(pause * 1.5, LAST_POLL_SECONDS)


class FileMeeting(Meeting):
    """The record is a file in a directory that all ranks share.

    Parameters
    ----------
    paths : iterable of Path
        Where it may be. Rank 0 takes them in order until one reaches all ranks, and
        the others look at all: a home that each node has for itself, or that only
        some can write, must not stop the job.
    key : str
    reaches_all : callable, optional
        Whether all ranks see what lies at a path. Each copy more is one more place
        in which the cluster's key lies.

    Attributes
    ----------
    reaches_all : callable
        As above.
    """

    def __init__(
        self,
        paths: Iterable[Path],
        key: str,
        reaches_all: Callable[[Path], bool] | None = None,
    ) -> None:
        self._paths = tuple(paths)
        self._key = key
        self.reaches_all = reaches_all or (lambda _: False)
        self._notices: Notices = NoNotices()
        self._written: list[Path] = []
        self._nonce = ""
        self._trouble: dict[Path, str] = {}

    @property
    def notices(self) -> Notices:
        """Where ranks that look for the record find notices instead."""
        return self._notices

    def post_notices(self, notices: Notices) -> None:
        """Have notices left beside the record from now on."""
        self._notices = notices

    async def publish(self, record: Record) -> None:
        """Write the file, again where it was written before.

        Raises
        ------
        ConfigError
            If no directory takes it.
        """
        written, refusals = [], []
        for path in self._written or self._paths:
            try:
                record_file.write(path, record.dump(), record.nonce)
            except OSError as error:
                refusals.append(f"{path}: {error.strerror or error}")
            except BadRecordError as error:
                refusals.append(f"{path} {error}")
            else:
                written.append(path)
                if not self._written and self.reaches_all(path):
                    break
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
        OverError
            If there is no record whose hub answers, but a notice of its launch's end.
        """
        began = time.monotonic()
        for pause in pauses():
            if time.monotonic() > began + HOPELESS_SECONDS and not any(
                record_file.seen(path) or record_file.usable(path.parent)
                for path in self._paths
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
            if (notice := self.notices.find()) is not None:
                raise OverError(notice)
            await asyncio.sleep(pause)

    def has_begun(self) -> bool:
        """Return whether there is a record, and so something to meet by."""
        for path in self._paths:
            with contextlib.suppress(OSError, BadRecordError):
                self._read(path)
                return True
        return False

    def _read(self, path: Path) -> Record:
        record = Record.load(record_file.read(path))
        if record.key != self._key:
            raise BadRecordError(f"belongs to another launch ({record.key})")
        self._trouble[path] = (
            f"names a hub on {record.node} ({record.host}:{record.port}) "
            "that does not answer"
        )
        return record

    @property
    def directories(self) -> tuple[Path, ...]:
        """Where it is looked for."""
        return tuple(path.parent for path in self._paths)

    @property
    def files(self) -> tuple[str, ...]:
        """Those that this rank may write."""
        return tuple(map(str, self._paths))

    def adopt(self, nonce: str) -> None:
        """Withdraw the files that a lost rank 0 has written."""
        self._written, self._nonce = list(self._paths), nonce

    def withdraw(self) -> None:
        """Remove each file that is still the one that we wrote."""
        if self._written:
            self.notices.sweep()
        for path in self._written:
            # It may be gone or replaced, or its directory may hold other records.
            with contextlib.suppress(OSError, BadRecordError):
                record_file.remove(path, self._is_ours)
        self._written = []

    def _is_ours(self, text: str) -> bool:
        return Record.load(text).nonce == self._nonce

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


def file_meeting(
    world: World, environ: Mapping[str, str], scheduler_file: str | None
) -> FileMeeting:
    """Choose the places for the file.

    With a ``scheduler_file`` that one alone; otherwise the home directory and
    the working directory, which sites share over their nodes.

    Raises
    ------
    ConfigError
        If the file is in the home of a user who has none.
    """
    if scheduler_file:
        name = scheduler_file.replace("{job_id}", world.job_id)
        return FileMeeting([_absolute(name)], world.key)
    one_node = world.local_size == world.size
    return FileMeeting(
        _shared(world, environ), world.key, _on_this_node if one_node else _on_all_nodes
    )


def _absolute(name: str) -> Path:
    try:
        return Path(name).expanduser().absolute()
    except RuntimeError as error:
        raise ConfigError(
            f"--scheduler-file {name}: {error}",
            "a file in a directory that all nodes share",
            "write the directory out, as --scheduler-file /shared/scheduler.json",
        ) from error


def _on_all_nodes(path: Path) -> bool:
    return kind_of(path.parent) in NETWORK


def _on_this_node(path: Path) -> bool:
    return kind_of(path.parent) not in OF_ONE


def node_meeting(world: World, environ: Mapping[str, str]) -> FileMeeting:
    """Choose the places for ranks that are all on one node.

    There the directory for temporary files will do as well, where neither home nor
    working directory can be written; it comes last, because Apptainer may give
    each rank one of its own (``--contain``).
    """
    temporary = (
        Path(tempfile.gettempdir()) / f"{LOCAL_PREFIX}{world.key}" / "record.json"
    )
    paths = [*_shared(world, environ), temporary]
    return FileMeeting(paths, world.key, _on_this_node)


def _shared(world: World, environ: Mapping[str, str]) -> list[Path]:
    name = f"{world.key}.json"
    places = []
    if environ.get("HOME"):
        places.append(Path(environ["HOME"]) / RECORDS)
    with contextlib.suppress(FileNotFoundError):  # it is gone, which has been said
        places.append(Path.cwd() / RECORDS)
    return [place / name for place in places]
