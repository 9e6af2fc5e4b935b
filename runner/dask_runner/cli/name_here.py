"""The name of a cluster on other hosts, where its user has typed the command."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from dask_runner.meeting import cluster_directory
from dask_runner.meeting.cluster_directory import REFRESH_SECONDS, NoDirectoryError
from dask_runner.meeting.named_record import NamedRecord
from dask_runner.meeting.record import BadRecordError, Record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dask_runner.node.hosted_messages import HostReady


class NameHere:
    """The name of the cluster in this machine's cluster directory.

    Rank 0 keeps it in that of its own host, which may be another.
    """

    def __init__(self, name: str, job: str, environ: Mapping[str, str]) -> None:
        self._name = name
        self._job = job
        self._environ = environ
        self._laid: tuple[Path, str] | None = None

    def note(self, text: str, host: HostReady) -> None:
        """Lay the record, when it has the scheduler's address."""
        record = Record.load(text)
        if not self._name or not record.address or self._laid is not None:
            return
        named = NamedRecord(
            self._name,
            self._job,
            "hosts",
            time.time(),
            host.python,
            host.distributed,
            record,
        )
        with contextlib.suppress(NoDirectoryError, OSError, BadRecordError):
            path = cluster_directory.path_of(self._name, self._environ)
            # One that is there is rank 0's own, on this machine, or another cluster's.
            if cluster_directory.claim(path, named):
                self._laid = path, record.nonce
                self._keeping = asyncio.create_task(self._keep(path))

    async def _keep(self, path: Path) -> None:
        with contextlib.suppress(OSError, BadRecordError):
            while True:
                await asyncio.sleep(REFRESH_SECONDS)
                cluster_directory.refresh(path)

    def withdraw(self) -> None:
        """Remove the record."""
        if self._laid is not None:
            self._keeping.cancel()
            cluster_directory.remove(*self._laid)


def named_here(name: str, environ: Mapping[str, str]) -> str:
    """Return the record of a running cluster, for hosts that do not see it."""
    with contextlib.suppress(NoDirectoryError):
        entry = cluster_directory.entry(cluster_directory.path_of(name, environ))
        if entry is not None and entry.found is not None:
            return entry.found.dump()
    return ""
