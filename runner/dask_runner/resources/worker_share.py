"""How one rank's share is divided among its workers.

**Number of workers.** An integer is taken as it is, a negative one as ``dask
worker`` does (CPUs + 1 + n). Otherwise there is one worker a GPU, if the rank
has GPUs; else "auto" follows ``dask worker --nworkers auto`` (the smallest
divisor of the CPUs that is at least their square root; up to four CPUs, one
worker each), or as many as ``nthreads`` fits into the CPUs; and None is one.

**Threads** are the CPUs divided by the workers, at least one.

**Memory.** ``auto`` is the rank's share, less what nannies and the rank itself
need (a twentieth, at least 96 MiB but no more than a sixth, at most 256 MiB), divided
by the workers; the nanny restarts a worker at 95 % of its limit, so this is what keeps
the kernel away. (Beside a worker's own memory, a node that plays one rank was charged
62 MiB, and 30 MiB of files that it uses all the time.) Other values are
read as ``dask worker --memory-limit`` reads them, the share taking the place of
the machine's memory: a number up to 1 is a fraction of it, 0 and None are no limit,
a text has a unit. What the workers of the rank would get together never exceeds
its share.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError
from dask_runner.launch.numbers import parse_limit
from dask_runner.launch.sourced import Sourced
from dask_runner.resources.amounts import MIB, in_words

if TYPE_CHECKING:
    from dask_runner.resources.rank_share import RankShare


@dataclass(frozen=True, slots=True)
class WorkerShare:
    """What one worker may use.

    Attributes
    ----------
    nthreads : int
        Threads that run tasks.
    memory_limit : int or None
        Bytes; None is no limit.
    gpus : tuple of str
        The GPUs that it sees, its own first.
    environ : mapping of str to str
        Variables that make it so.
    cpus : tuple of int
        CPUs that it is bound to; none if it has all of the rank's.
    """

    nthreads: int
    memory_limit: int | None
    gpus: tuple[str, ...]
    environ: dict[str, str]
    cpus: tuple[int, ...] = ()

    def named(self, name: int | str) -> NamedWorker:
        """Return the worker that has this share."""
        limit = self.memory_limit or 0
        return NamedWorker(name, self.nthreads, limit, self.environ, self.cpus)


@dataclass(frozen=True, slots=True)
class NamedWorker:
    """One worker, as Dask is told of it.

    Attributes
    ----------
    name : int or str
    nthreads : int
    memory_limit : int
        Bytes; 0 is no limit.
    environ : mapping of str to str
        Variables of its own.
    cpus : tuple of int
        As in its share.
    """

    name: int | str
    nthreads: int
    memory_limit: int
    environ: dict[str, str]
    cpus: tuple[int, ...] = ()


def worker_shares(
    share: RankShare,
    nworkers: int | str | None = None,
    nthreads: int | None = None,
    memory_limit: str | float | None = "auto",
) -> Sourced[tuple[WorkerShare, ...]]:
    """Divide a rank's share among its workers; see the rules above.

    Parameters
    ----------
    share : RankShare
        What :func:`dask_runner.resources.rank_share.rank_share` found.
    nworkers : int, str or None
        A number, a text with a number, "auto", or None.
    nthreads : int, optional
        Threads of each worker; None or 0 leaves it to the rule.
    memory_limit : str, float or None
        As ``dask worker --memory-limit``.

    Returns
    -------
    Sourced of tuple of WorkerShare
        In the order of the workers' names.

    Raises
    ------
    ConfigError
        If a value makes no sense.
    """
    threads = _whole("nthreads", nthreads or 0)
    if threads < 0:
        raise _absurd("nthreads", nthreads, "a number from 1 up, or 0 for the rule")
    count, source = _count(share, nworkers, threads)
    limit, warnings = _limit(share, count, memory_limit)
    gpus = share.gpus.value
    workers = [
        WorkerShare(
            threads or max(1, share.cpus.value // count),
            limit,
            gpus.of_worker(worker, count),
            gpus.environ_of_worker(worker, count),
        )
        for worker in range(count)
    ]
    return Sourced(tuple(workers), source, warnings)


def _count(
    share: RankShare, nworkers: int | str | None, threads: int
) -> tuple[int, str]:
    cpus, cards = share.cpus.value, len(share.gpus.value.own)
    if nworkers in (None, "auto"):
        if cards:
            return cards, "one worker a GPU"
        if nworkers is None:
            return 1, "one worker a rank"
        if threads:
            return max(1, cpus // threads), f"{cpus} CPUs / {threads} threads"
        return _auto(cpus), f"dask worker's rule for {cpus} CPUs"
    asked = _whole("nworkers", nworkers)
    count = cpus + 1 + asked if asked < 0 else asked
    if count < 1:
        needed = f'"auto", a number from 1 up, or from -{cpus} to -1'
        raise _absurd("nworkers", nworkers, needed)
    return count, f"nworkers={nworkers}"


def _auto(cpus: int) -> int:
    # distributed.deploy.utils has this rule, but a thin rank has no distributed.
    if cpus <= 4:  # noqa: PLR2004 - Dask's number
        return cpus
    return next(n for n in range(math.isqrt(cpus - 1) + 1, cpus + 1) if not cpus % n)


def _limit(
    share: RankShare, count: int, asked: str | float | None
) -> tuple[int | None, tuple[str, ...]]:
    whole = share.memory.value
    most = max(1, whole // count)
    if asked is None or asked == "auto":
        helpers = min(max(whole // 20, min(96 * MIB, whole // 6)), 256 * MIB)
        return (None if asked is None else max(1, (whole - helpers) // count)), ()
    try:
        size = parse_limit(asked)
    except ValueError as wrong:
        raise _absurd("memory_limit", asked, str(wrong)) from None
    if size == 0:
        return None, ()
    limit = int(size * whole) if size <= 1 else int(size)
    if limit <= most:
        return limit, ()
    warning = (
        f"--memory-limit {asked} of {count} worker{'' if count == 1 else 's'} "
        f"is more than this rank has ({in_words(whole)}): each gets {in_words(most)}"
    )
    return most, (warning,)


def _whole(name: str, value: object) -> int:
    try:
        if isinstance(value, float) and not value.is_integer():
            raise ValueError  # noqa: TRY301 - one message for all that is absurd
        return int(value)  # type: ignore[call-overload, no-any-return]
    except (ValueError, TypeError, OverflowError):
        raise _absurd(name, value, "a whole number") from None


def _absurd(name: str, value: object, needed: str) -> ConfigError:
    option = "--" + name.replace("_", "-")
    return ConfigError(
        f"{name} is {value!r}", needed, f"change {option} or leave it out"
    )
