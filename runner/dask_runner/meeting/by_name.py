"""A join meets the hub of a running cluster, which it finds by the cluster's name."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from dask_runner.errors import AssemblyError, ConfigError, UnavailableError
from dask_runner.meeting import cluster_directory, which_cluster
from dask_runner.meeting.base import Meeting
from dask_runner.meeting.by_file import pauses

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from dask_runner.meeting.named_record import NamedRecord
    from dask_runner.meeting.record import Record


class NameMeeting(Meeting):
    """The way of a join: the cluster's record in the cluster directory.

    Parameters
    ----------
    name : str
        The cluster's.
    environ : mapping
    python, distributed : str
        The versions here, which have to be the cluster's.
    """

    def __init__(
        self, name: str, environ: Mapping[str, str], python: str, distributed: str
    ) -> None:
        self._name = name
        self._environ = environ
        self._versions = python, distributed
        self._trouble = ""

    async def publish(self, record: Record) -> None:
        """Do nothing: the cluster has published its record."""

    async def records(self) -> AsyncIterator[Record]:
        """Look for the cluster, which may come later, less and less often.

        Raises
        ------
        ConfigError
            If the cluster's file cannot be believed, or the cluster has other versions.
        """
        for pause in pauses():
            with suppress(UnavailableError):  # it may come
                _, named = which_cluster.choose(self._name, self._environ)
                self._compare(named)
                record = named.record
                self._trouble = f"{record.host}:{record.port} does not answer"
                yield record
                await asyncio.sleep(pause)
                continue
            place = cluster_directory.described(self._environ)[0]
            self._trouble = f"it is not in {place}"
            await asyncio.sleep(pause)

    def denied(self, why: str) -> None:
        """Note why the hub does not let the node in now; it may later."""
        self._trouble = why

    @property
    def trouble(self) -> str:
        """What was seen last instead of a hub that lets the node in."""
        return self._trouble

    def waited(self, rank: int, node: str, since: float) -> AssemblyError:
        """Return the error of a rank that has not joined in time."""
        seconds = time.monotonic() - since
        return AssemblyError(
            f"rank {rank} on {node} waited {seconds:.0f} s for the cluster "
            f"{self._name!r}: {self._trouble}",
            "a cluster of yours of that name that goes on, and a way to its node",
            "see your clusters with dask-runner list; start it with dask-runner serve "
            f"--name {self._name}; give more time with --timeout",
        )

    def _compare(self, named: NamedRecord) -> None:
        python, distributed = self._versions
        same_python = python.split(".")[:2] == named.python.split(".")[:2]
        if same_python and distributed == named.distributed:
            return
        raise ConfigError(
            f"the cluster {self._name!r} has Python {named.python} and distributed "
            f"{named.distributed}, the join has Python {python} and distributed "
            f"{distributed}",
            "the same in all of a cluster's workers",
            "start the join with the image of the cluster",
        )
