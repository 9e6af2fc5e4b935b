"""How many workers a user means, and Dask's ``Adaptive`` within what there can be."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import distributed.deploy
from dask.utils import parse_bytes

from dask_runner.errors import (
    ConfigError,
    SubmitError,
    UnavailableError,
    UsageError,
)
from dask_runner.hub.report import say
from dask_runner.launch.numbers import quoted
from dask_runner.launch.values import count

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dask_runner.hub.requests import State
    from dask_runner.library.join_jobs import JoinJobs

#: Seconds between questions to the batch system about jobs that wait.
LOOK_SECONDS = 30.0


@dataclass(frozen=True)
class JobBounds:
    """How many jobs there may be whose ranks join the cluster.

    Attributes
    ----------
    jobs : JoinJobs
    minimum : int
    maximum : float
        Infinite where only workers are counted.
    """

    jobs: JoinJobs
    minimum: int
    maximum: float


class Adaptive(distributed.deploy.Adaptive):  # type: ignore[misc]  # Dask has no types
    """Dask's own, which asks for no more than there can be.

    With *job_bounds* jobs are submitted for what the nodes that are there do not offer,
    and joins leave whose workers run nothing. Until they have left, no other worker is
    retired.

    Parameters
    ----------
    *args, **options
        As for Dask's.
    job_bounds : JobBounds, optional
        By default no job is submitted.
    """

    def __init__(
        self, *args: Any, job_bounds: JobBounds | None = None, **options: Any
    ) -> None:
        self._job_bounds = job_bounds
        self._too_many = 0
        self._looked = 0.0
        self._made = False
        super().__init__(*args, **options)
        self._made = True

    async def adapt(self) -> None:
        """Adapt once; a cluster that is closed meanwhile is no error."""
        # Dask starts its timer, in another thread, before it has made all of this.
        if not self._made:
            return
        try:
            await super().adapt()
        except UnavailableError:
            return  # it has ended, and says so itself
        except OSError:  # of Dask's connections as well
            if self.state != "stopped":
                raise

    async def safe_target(self) -> int:
        """Return the workers that the nodes are to have, and adapt the jobs to it."""
        target = await super().safe_target()
        if self._job_bounds is None:
            return int(target)
        state = await self.cluster._now()  # noqa: SLF001  a part of it
        try:
            await self._adapt_jobs(self._job_bounds, target, state)
        except (SubmitError, ConfigError) as error:
            self._job_bounds = None
            say(f"error: {error}\nno more jobs are submitted, until adapt() is called")
        return int(min(target, state.capacity))

    async def _adapt_jobs(self, bounds: JobBounds, target: int, state: State) -> None:
        there = bounds.jobs.standing(state)
        wanted = max(there.needed(target, bounds.jobs.ranks), bounds.minimum)
        wanted = int(min(wanted, bounds.maximum))
        self._too_many = self._too_many + 1 if wanted < there.number else 0
        if 0 < self._too_many < self.wait_count:
            wanted = there.number
        # Only the batch system knows of a job that has ended before it joined.
        now = time.monotonic()
        look = there.waits and now > self._looked + LOOK_SECONDS
        if wanted != there.number or look:
            self._looked, self._too_many = now, 0
            await self.cluster._have_jobs(bounds.jobs, wanted, idle_only=True)  # noqa: SLF001

    async def workers_to_close(self, target: int) -> list[str]:
        """Return workers to retire: none as long as jobs are there that may leave."""
        bounds = self._job_bounds
        if bounds is not None and bounds.jobs.latest.number > bounds.minimum:
            return []
        return list(await super().workers_to_close(target))

    async def scale_up(self, n: int) -> None:
        """Have *n* workers, or as many as the nodes offer, if some were lost."""
        await self.cluster._scale(n, nearest=True)  # noqa: SLF001


def workers(
    number: int | None,
    memory: str | float | None,
    cores: int | None,
    there: Sequence[Mapping[str, Any]],
) -> int:
    """Return the number of workers that a user means.

    Parameters
    ----------
    number : int, optional
    memory : str or float, optional
        What all workers have at least.
    cores : int, optional
        The threads that they have at least.
    there : sequence of mapping
        The workers that are there, as the scheduler describes them.

    Raises
    ------
    TypeError
        If nothing is given.
    ConfigError
        If nobody knows how much a worker has.
    """
    total = None if memory is None else parse_bytes(memory)
    asked = {"nthreads": cores, "memory_limit": total}
    wanted = [] if number is None else [number]
    for what, amount in asked.items():
        if amount is not None:
            # Workers are as large as their ranks, which may differ: on average.
            of_one = sum(one[what] or 0 for one in there) / max(len(there), 1)
            if not of_one:
                raise ConfigError(
                    f"no worker with a known {what.replace('_', ' ')}",
                    "a worker that has one, to know how many are wanted",
                    "give the number of workers: scale(4)",
                )
            wanted.append(math.ceil(amount / of_one))
    if not wanted:
        raise TypeError("scale() needs a number of workers, memory= or cores=")
    return max(wanted)


def job_count(number: object) -> int:
    """Return a number of jobs.

    Raises
    ------
    UsageError
        If it is none.
    """
    try:
        return int(count(number))
    except ValueError as error:
        raise UsageError(
            f"{quoted(number)} jobs", str(error), "write scale(jobs=2)"
        ) from None


def job_bounds(
    minimum: int | None, maximum: int | None, workers: float | None, jobs: JoinJobs
) -> JobBounds:
    """Return how many jobs ``Adaptive`` may have; *workers* is its maximum of those.

    Raises
    ------
    UsageError
        If the bounds exclude each other, or nothing says where it ends.
    """
    low = job_count(minimum or 0)
    high = math.inf if maximum is None else job_count(maximum)
    if min(high, math.inf if workers is None else workers) == math.inf or low > high:
        raise UsageError(
            f"adapt() with {low} to {high} jobs",
            "a maximum of jobs or of workers, not below the minimum",
            "write adapt(maximum_jobs=4)",
        )
    return JobBounds(jobs, low, high)


def bounds(
    minimum: int | None, maximum: float | None, state: State, *, grows: bool
) -> dict[str, Any]:
    """Return the bounds for ``Adaptive``; with *grows* there may be more nodes.

    Raises
    ------
    ConfigError
        If the nodes do not offer so many workers, or the bounds exclude each other.
    """
    least = state.least
    capacity = math.inf if grows else state.capacity
    low = max(least, minimum or 0)
    high = capacity if maximum is None or math.isinf(maximum) else int(maximum)
    if not low <= high <= capacity:
        raise ConfigError(
            f"from {low} to {high} workers asked for, and the nodes of this cluster "
            f"offer {state.capacity}",
            f"a minimum and a maximum from {least} to {capacity}",
            f"ask for {state.capacity} at most, or have jobs submitted that join: "
            "adapt(maximum_jobs=4)",
        )
    return {"minimum": low, "maximum": high}
