"""The cluster's name, which rank 0 keeps in the cluster directory while it lives.

The user is told of it, and of a cluster that cannot be found by name.
"""

from __future__ import annotations

import asyncio
import platform
import re
import time
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError, RunnerError
from dask_runner.hub.ask import QUICK_SECONDS, SilentError, ask
from dask_runner.hub.requests import AskState, State
from dask_runner.meeting import cluster_directory
from dask_runner.meeting.cluster_directory import (
    REFRESH_SECONDS,
    STALE_SECONDS,
    Entry,
    NoDirectoryError,
)
from dask_runner.meeting.named_record import NamedRecord
from dask_runner.meeting.record import BadRecordError
from dask_runner.wire.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from dask_runner.hub.shared_state import SharedState
    from dask_runner.launch.world import World
    from dask_runner.meeting.record import Record

#: Clusters of one job: its steps, and launches inside it.
MOST_OF_A_JOB = 1000
#: Characters of a default name, so that a number has room behind it.
LONGEST_NAME = 56


class Naming:
    """Keeps the record of a cluster in the cluster directory, under its name.

    Parameters
    ----------
    world : World
        Rank 0's.
    name : str or None
        The name that the user has chosen; None for the job's.
    environ : mapping
    record : Record
        The cluster's.
    """

    def __init__(
        self,
        world: World,
        name: str | None,
        environ: Mapping[str, str],
        record: Record,
    ) -> None:
        self._world = world
        self._chosen = name
        self._environ = environ
        self._named = NamedRecord(
            name or "none",
            world.job_id,
            world.launcher,
            time.time(),
            platform.python_version(),
            version("distributed"),
            record,
        )
        self._path: Path | None = None

    @property
    def name(self) -> str:
        """The cluster's name; empty if it has none."""
        return self._named.name if self._path else ""

    # --- to get a name ------------------------------------------------------

    async def claim(self) -> None:
        """Write the file, under the chosen name or the first free one of the job.

        Raises
        ------
        ConfigError
            If a cluster has the chosen name, or the file cannot be written.
        """
        for name in [self._chosen] if self._chosen else self._names():
            try:
                taken = await self._try(name)
            except (NoDirectoryError, OSError, BadRecordError) as error:
                raise _cannot_be_named(error) from error
            if taken is None:
                return
            if self._chosen:
                raise taken
        raise _cannot_be_named(OSError(f"{MOST_OF_A_JOB} clusters in one job"))

    def _names(self) -> Iterator[str]:
        base = default_name(self._world)
        yield base
        for number in range(2, MOST_OF_A_JOB + 1):
            yield f"{base}-{number}"

    async def _try(self, name: str) -> ConfigError | None:
        """Take a name; return why it cannot be had."""
        path = cluster_directory.path_of(name, self._environ)
        named = replace(self._named, name=name)
        # Files are written here and not in a thread, which could write one after the
        # cluster has withdrawn it.
        while not cluster_directory.claim(path, named):
            entry = cluster_directory.entry(path)
            if entry is not None and (taken := await _taken(entry)):
                return taken
        self._path, self._named = path, named
        return None

    # --- to keep it -----------------------------------------------------------

    def add_address(self, address: str) -> None:
        """Add the scheduler's address, for clients that know of Dask alone.

        Raises
        ------
        ConfigError
            If the file cannot be written any more.
        """
        self._named = self._named.at(address)
        if self._path is None:
            return
        try:
            cluster_directory.rewrite(self._path, self._named)
        except (OSError, BadRecordError) as error:
            raise _cannot_be_named(error) from error

    async def keep(self) -> None:
        """Refresh the file's time, until this is cancelled.

        Raises
        ------
        ConfigError
            If the name is lost: somebody has removed the file, and it cannot be
            written again.
        """
        while self._path is not None:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await in_thread(cluster_directory.refresh, self._path)
            except (OSError, BadRecordError):
                # The user has removed it, or it was taken for stale while this
                # process was stopped.
                await self.claim()

    def withdraw(self) -> None:
        """Remove the file."""
        if self._path is not None:
            cluster_directory.remove(self._path, self._named.record.nonce)


async def be_named(
    naming: Naming, shared: SharedState, fail: Callable[[RunnerError], None]
) -> None:
    """Keep a cluster's name until this is cancelled, and tell the user of it.

    Parameters
    ----------
    naming : Naming
    shared : SharedState
        The cluster's.
    fail : callable
        Ends the cluster with an error.
    """
    try:
        await naming.claim()
    except ConfigError as error:
        _go_on_without_a_name(error, shared, fail)
        return
    shared.report.named(naming.name)
    if shared.plan.client is None:
        shared.report.note(
            f"the cluster's name is {naming.name}: attach with Client(Cluster."
            f"from_name({naming.name!r})), end it with dask-runner stop {naming.name}"
        )
    try:
        naming.add_address(await shared.assembly.scheduler_address())
        await naming.keep()
    except ConfigError as error:
        # The programs that use the cluster already go on.
        saw = error.saw
        shared.report.warn(f"nothing can attach to this cluster any more: {saw}")


def _go_on_without_a_name(
    error: ConfigError, shared: SharedState, fail: Callable[[RunnerError], None]
) -> None:
    """End a cluster that cannot be found by name, or tell the user of it.

    It ends if the user has asked for a name, or has no other way in.
    """
    settings, serves = shared.settings, shared.plan.client is None
    if settings.name or (serves and not settings.scheduler_file):
        fail(error)
    else:
        shared.report.note(f"nothing can attach to this cluster: {error.saw}")


def default_name(world: World) -> str:
    """Return the name of a cluster to which the user has given none."""
    job = world.job_id
    if world.launcher == "local":
        # The number is that of the process that the user has started.
        job = f"local-{job.partition('-')[0]}"
    spelled = re.sub(r"[^A-Za-z0-9._-]+", "-", job or world.launcher).lstrip("._-")
    return spelled[:LONGEST_NAME] or "cluster"


async def _taken(entry: Entry) -> ConfigError | None:
    """Return why a name cannot be had; None, and remove the file, if it is stale."""
    named = entry.found
    if named is None:
        return ConfigError(
            f"{entry.path} {entry.trouble}",
            f"the name {entry.name!r} free, or the record of a cluster there",
            f"remove the file: rm {entry.path}; or choose another --name",
        )
    where = f"on {named.record.node}"
    if named.job_id and named.launcher != "local":
        where += f" in {named.launcher} job {named.job_id}"
    try:
        with suppress(RunnerError):  # it answers, whatever it says
            await ask(named.record, AskState(), State, QUICK_SECONDS)
    except SilentError as why:
        age = cluster_directory.age(entry.path)
        if cluster_directory.is_stale(age, gone=why.gone):
            cluster_directory.remove(entry.path, named.record.nonce)
            return None
        return ConfigError(
            f"a cluster named {entry.name!r} was {where} until {age:.0f} s ago, and "
            f"does not answer: {why}",
            "a name that no cluster has",
            f"choose another --name, or try again in {STALE_SECONDS - age:.0f} s",
        )
    return ConfigError(
        f"a cluster named {entry.name!r} is running {where}",
        "a name that no cluster has",
        f"choose another --name; or end that one with dask-runner stop {entry.name}",
    )


def _cannot_be_named(error: Exception) -> ConfigError:
    saw = getattr(error, "strerror", None) or error
    path = getattr(error, "filename", None)
    return ConfigError(
        f"the cluster cannot be found by name: {f'{path}: ' if path else ''}{saw}",
        "a home directory that can be written, and that the nodes share",
        "set HOME to such a directory (apptainer run --home DIR, "
        "docker run -e HOME=DIR -v DIR:DIR)",
    )
