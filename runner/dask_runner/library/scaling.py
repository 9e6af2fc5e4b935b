"""How many workers a user means, and Dask's ``Adaptive`` within what there can be."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import distributed.deploy
from dask.utils import parse_bytes

from dask_runner.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dask_runner.hub.requests import State


class Adaptive(distributed.deploy.Adaptive):  # type: ignore[misc]  # Dask has no types
    """Dask's own, which asks for no more than there can be."""

    async def adapt(self) -> None:
        """Adapt once; a cluster that is closed meanwhile is no error."""
        try:
            await super().adapt()
        except OSError:  # of Dask's connections as well
            if self.state != "stopped":
                raise

    async def scale_up(self, n: int) -> None:
        """Have *n* workers, or as many as the nodes offer, if some were lost."""
        await self.cluster._scale(n, nearest=True)  # noqa: SLF001  a part of it


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


def within(minimum: int | None, maximum: float | None, state: State) -> dict[str, int]:
    """Return the bounds for ``Adaptive``.

    Raises
    ------
    ConfigError
        If the nodes do not offer so many workers, or the bounds exclude each other.
    """
    least, capacity = state.least, state.capacity
    low = max(least, minimum or 0)
    high = capacity if maximum is None or math.isinf(maximum) else int(maximum)
    if not low <= high <= capacity:
        raise ConfigError(
            f"from {low} to {high} workers asked for, and the nodes of this cluster "
            f"offer {capacity}",
            f"a minimum and a maximum from {least} to {capacity}",
            f"ask for {capacity} at most, or start a cluster on more nodes",
        )
    return {"minimum": low, "maximum": high}
