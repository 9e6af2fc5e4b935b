"""The clusters whose dashboards are shown, and what their hubs say."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from dask_runner.errors import RunnerError, UnavailableError
from dask_runner.hub.ask import QUICK_SECONDS, SilentError, ask, silent
from dask_runner.hub.durations import in_words
from dask_runner.hub.requests import AskState, State
from dask_runner.meeting import cluster_directory, which_cluster
from dask_runner.proxy.html import Answer, Row, failed, index, moved
from dask_runner.proxy.paths import Index, Moved, Page, of_all, of_one

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_runner.meeting.cluster_directory import Entry
    from dask_runner.meeting.named_record import NamedRecord


@dataclass(frozen=True, slots=True)
class Goal:
    """Where a request goes.

    Attributes
    ----------
    entry : Entry
        The cluster's.
    named : NamedRecord
    page : Page
    """

    entry: Entry
    named: NamedRecord
    page: Page

    def silent(self, why: SilentError) -> UnavailableError:
        """Return the error about a cluster that does not answer."""
        age = cluster_directory.age(self.entry.path)
        return silent(self.entry.name, self.named.record, age, why)


class Clusters(Protocol):
    """Says where requests go."""

    async def find(self, target: str) -> Goal | Answer:
        """Return where a request goes, by its path and query, or the answer to it."""


@dataclass
class One(Clusters):
    """One cluster, and what it has come to.

    Attributes
    ----------
    entry : Entry
    named : NamedRecord
    instead : Answer or None
        What its pages are where the hub need not be asked any more.
    """

    entry: Entry
    named: NamedRecord
    instead: Answer | None = None

    async def find(self, target: str) -> Goal | Answer:
        """Return where a request goes."""
        if self.instead is not None:
            return self.instead
        page = of_one(target)
        if isinstance(page, Moved):
            return moved(page.location)
        return Goal(self.entry, self.named, page)


@dataclass(frozen=True)
class All(Clusters):
    """All clusters of the cluster directory, as they come and go.

    Attributes
    ----------
    name : str or None
        The one whose pages have no name before them; None for the only one.
    environ : mapping
    """

    name: str | None
    environ: Mapping[str, str]

    async def find(self, target: str) -> Goal | Answer:
        """Return where a request goes, or the list of clusters."""
        try:
            # The directory may be on a file server that takes its time.
            found = await asyncio.to_thread(self._look, target)
        except RunnerError as error:
            return failed(404, error)
        return await _list(found) if isinstance(found, list) else found

    def _look(self, target: str) -> Goal | Answer | list[Entry]:
        page = of_all(target, self._is_one)
        if isinstance(page, Index):
            return cluster_directory.entries(self.environ)
        if isinstance(page, Moved):
            return moved(page.location)
        entry, named = which_cluster.choose(page.name or self.name, self.environ)
        return Goal(entry, named, page)

    def _is_one(self, name: str) -> bool:
        # What is wrong with the directory is told when the cluster is looked for.
        with contextlib.suppress(cluster_directory.NoDirectoryError, OSError):
            return cluster_directory.path_of(name, self.environ).is_file()
        return False


async def _list(entries: list[Entry]) -> Answer:
    return index(await asyncio.gather(*map(_row, entries)))


async def _row(entry: Entry) -> Row:
    if entry.found is None:
        return Row(entry.name, "", f"{entry.path} {entry.trouble}", answers=False)
    node = entry.found.record.node
    try:
        state = await ask(entry.found.record, AskState(), State, QUICK_SECONDS)
    except SilentError as why:
        return Row(entry.name, node, f"no answer: {why}", answers=False)
    except RunnerError as error:
        return Row(entry.name, node, error.saw, answers=False)
    return Row(entry.name, node, in_short(state), answers=True)


def in_short(state: State) -> str:
    """Return the state of a cluster in a few words."""
    if state.ending:
        return "ends now"
    if not state.ready:
        return "starting"
    words = f"{state.workers} worker{'' if state.workers == 1 else 's'}"
    if not state.dashboard:
        words += ", no dashboard"
    if state.ends_at:
        left = max(state.ends_at - time.time(), 0.0)
        words += f"; its job ends in {in_words(left)}"
    return words
