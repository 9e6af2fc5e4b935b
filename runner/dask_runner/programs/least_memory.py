"""The least memory that a worker can live with: what it has before its first task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dask.config

from dask_runner.errors import ConfigError
from dask_runner.resources.amounts import in_words
from dask_runner.resources.usage import own_memory

if TYPE_CHECKING:
    from collections.abc import Iterable


def refuse_less(limits: Iterable[int]) -> None:
    """Refuse limits at which Dask's nannies would kill workers as they begin.

    The measure is this process, the agent, which has imported what a worker imports.
    (With Dask 2026.8: 66 MiB here, 57 MiB in a worker, which pauses at 80 % of its
    limit already.)

    Parameters
    ----------
    limits : iterable of int
        Bytes of memory for each worker; 0 for no limit.

    Raises
    ------
    ConfigError
        If a limit is so low that the nanny would restart the worker without end.
    """
    share = dask.config.get("distributed.worker.memory.terminate")
    least = min(filter(None, limits), default=0)
    if not share or not least:
        return
    needed = int(own_memory() / share)
    if least < needed:
        raise ConfigError(
            f"{in_words(least)} of memory for a worker",
            f"at least {in_words(needed)}, which Dask itself takes, and more for the "
            "data of tasks",
            "start fewer workers on a node (--nworkers, or fewer ranks), or ask for "
            "more memory (Slurm: --mem)",
        )
