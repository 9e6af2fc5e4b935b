"""The batch jobs that a program submits, so that their ranks join its cluster."""

from __future__ import annotations

import asyncio
import math
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dask

from dask_runner.batch.job_script import Job, system_of
from dask_runner.batch.options import BY_KEY
from dask_runner.batch.queue import JobQueue, system_here
from dask_runner.errors import RunnerError, SubmitError
from dask_runner.hub.batch_jobs import job_number
from dask_runner.hub.report import say
from dask_runner.hub.requests import AskState, State, TellJobs
from dask_runner.launch.settings import JOB, of_jobs

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from dask_runner.attach.attachment import Attachment
    from dask_runner.meeting.named_record import NamedRecord

#: Jobs that end before they have joined, with none that joins among them, until no more
#: are submitted.
MOST_FAILED = 3


@dataclass(frozen=True)
class Standing:
    """The jobs of a cluster at a moment, the oldest first.

    Attributes
    ----------
    waits : tuple of str
        The numbers of those of which no join is there.
    joined : mapping of str to tuple of str
        The numbers of the others, and the names of their joins.
    workers : int
        The workers that the joins offer.
    others : int
        The workers that the cluster offers without them.
    ranks : int
        The ranks of its own launch.
    """

    waits: tuple[str, ...]
    joined: Mapping[str, tuple[str, ...]]
    workers: int
    others: int
    ranks: int

    @classmethod
    def of(cls, state: State, own_job: str) -> Standing:
        """Read it from what the hub says; the cluster's own job does not count."""
        joined: dict[str, list[str]] = {}
        workers = 0
        for join in state.joins:
            if join.job not in ("", own_job) and not join.leaves:
                joined.setdefault(join.job, []).append(join.name)
                workers += join.workers
        # One whose join leaves by itself may be queued again.
        waits = [
            job.number
            for job in state.jobs
            if job.number != own_job and job.number not in joined
        ]
        return cls(
            tuple(waits),
            {number: tuple(names) for number, names in joined.items()},
            workers,
            state.capacity - workers,
            state.ranks,
        )

    @property
    def number(self) -> int:
        """How many jobs there are."""
        return len(self.waits) + len(self.joined)

    def needed(self, workers: int, ranks: int) -> int:
        """Return how many jobs there have to be, so that there are so many workers.

        A job brings as many as those that are there, or as its *ranks* would if they
        were of the cluster's own launch.
        """
        if self.joined:
            each = self.workers // len(self.joined)
        else:
            each = ranks * self.others // max(self.ranks, 1)
        return max(0, math.ceil((workers - self.others) / max(each, 1)))


class JoinJobs:
    """Has a number of jobs whose ranks join one cluster.

    Parameters
    ----------
    attachment : Attachment
        Of the cluster.
    options : mapping
        Options of ``dask-runner job`` and variables of its templates, by name; and
        ``system``, ``options`` (a list of those of ``dask-runner join``), ``no_image``.
    environ : mapping

    Attributes
    ----------
    ranks : int
        Those of each job.
    latest : Standing
        The jobs when the hub was asked last.

    Raises
    ------
    UsageError, ConfigError
        If such a job cannot be submitted from here.
    """

    def __init__(
        self,
        attachment: Attachment,
        options: Mapping[str, Any],
        environ: Mapping[str, str],
    ) -> None:
        self._attachment = attachment
        named = attachment.named
        # What is started by hand has the number of a process.
        local = named.launcher == "local"
        self._own_job = "" if local else job_number(named.job_id)
        self._queue = _queue(named, options, environ)
        self.ranks = self._queue.check()
        self._failed = 0
        self._joined: set[str] = set()
        self.latest = Standing((), {}, 0, 0, 0)

    def standing(self, state: State) -> Standing:
        """Return the jobs by a state of the cluster."""
        self.latest = Standing.of(state, self._own_job)
        if not self.latest.joined.keys() <= self._joined:
            self._joined.update(self.latest.joined)
            self._failed = 0
        return self.latest

    async def look(self) -> Standing:
        """Return the jobs that there are, and say which have ended and never joined.

        Raises
        ------
        SubmitError
            If the batch system cannot be asked.
        UnavailableError
            If the cluster does not answer.
        """
        state = await self._attachment.ask(AskState(), State)
        standing = self.standing(state)
        if not standing.waits:
            return standing
        there = await asyncio.to_thread(self._queue.there)
        gone = [number for number in standing.waits if number not in there]
        if not gone:
            return standing
        never = {job.number for job in state.jobs if not job.joined}.intersection(gone)
        self._failed += len(never)
        for number in sorted(never):
            say(f"job {number} has ended, and no rank of it has joined {self._name}")
        # One of them may have joined, and be gone again, since the hub was asked.
        return self.standing(await self._tell([], gone))

    async def have(
        self, number: int, busy: Collection[str], *, idle_only: bool = False
    ) -> None:
        """Submit jobs, or see some off, until there are so many.

        Those that wait are cancelled first, then those leave whose workers run nothing;
        the newest of each first.

        Parameters
        ----------
        number : int
        busy : collection of str
            The names of the workers that run something.
        idle_only : bool
            Whether joins that have some of these stay.

        Raises
        ------
        SubmitError
            If a command fails, or if the last jobs have all ended before they joined.
        UnavailableError
            If the cluster does not answer.
        """
        standing = await self.look()
        more = number - standing.number
        if more > 0 and self._failed >= MOST_FAILED:
            raise self._none_joins()
        for _ in range(more):
            await self._submit()
        if more < 0:
            await self._fewer(-more, standing, busy, idle_only=idle_only)

    async def cancel_waiting(self) -> None:
        """Cancel the jobs that wait to join a cluster that has ended."""
        try:
            await asyncio.to_thread(self._queue.cancel, self.latest.waits)
        except SubmitError as error:
            jobs = ", ".join(self.latest.waits)
            say(f"warning: jobs {jobs} still wait to join {self._name}: {error.saw}")

    async def _submit(self) -> None:
        number = await asyncio.to_thread(self._queue.submit)
        try:
            # One by one: if the next fails, the hub knows of this one.
            self.standing(await self._tell([number], []))
        except RunnerError:
            # The cluster ends, so nobody would cancel it.
            await asyncio.to_thread(self._queue.cancel, [number])
            raise

    async def _fewer(
        self,
        number: int,
        standing: Standing,
        busy: Collection[str],
        *,
        idle_only: bool,
    ) -> None:
        cancelled = list(reversed(standing.waits))[:number]
        if cancelled:
            await asyncio.to_thread(self._queue.cancel, cancelled)
            self.standing(await self._tell([], cancelled))
        works = {
            job: any(worker.partition(".")[0] in joins for worker in busy)
            for job, joins in standing.joined.items()
        }
        there = [job for job in reversed(works) if not (idle_only and works[job])]
        there.sort(key=works.__getitem__)  # stable: the newest first among equals
        for job in there[: number - len(cancelled)]:
            for join in standing.joined[job]:
                await self._attachment.dismiss(join)

    async def _tell(self, submitted: list[str], gone: list[str]) -> State:
        return await self._attachment.ask(TellJobs(submitted, gone), State)

    def _none_joins(self) -> SubmitError:
        job = self._queue.job
        return SubmitError(
            f"the last {self._failed} jobs have ended, and no rank of them has joined "
            f"{self._name}",
            "jobs that join, before more are submitted",
            "see what they have printed, and submit one by hand: dask-runner job "
            f"{job.system.name} -- {shlex.join(job.args)}",
        )

    @property
    def _name(self) -> str:
        return f"the cluster {self._attachment.entry.name!r}"


def _queue(
    named: NamedRecord, options: Mapping[str, Any], environ: Mapping[str, str]
) -> JobQueue:
    site = dict(of_jobs(dask.config.get(f"runner.{JOB}", default=None)))
    of_site = site.pop("system", None)
    given = {key.replace("-", "_"): value for key, value in options.items()}
    name = given.pop("system", of_site)
    system = system_of(str(name)) if name else system_here(named.launcher, environ)
    args = ("join", named.name, *map(str, given.pop("options", ())))
    no_image = bool(given.pop("no_image", False))
    asked = {key: given.pop(key) for key in BY_KEY if key in given}
    extra = tuple(f"{key}={value}" for key, value in given.items())
    return JobQueue(Job(system, args, asked, extra, no_image), site, environ, say)
