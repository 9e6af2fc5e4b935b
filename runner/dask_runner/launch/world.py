"""The World: what one rank knows about the launch that it belongs to."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class World:
    """One rank's place among the processes that a launcher started.

    Attributes
    ----------
    launcher : str
        Name of the row of :data:`dask_runner.launch.detect.LAUNCHERS` that matched.
    rank : int
        0 to ``size - 1``.
    size : int
        Number of ranks.
    local_rank, local_size : int or None
        Rank among, and number of, the ranks on this node; None where the
        launcher does not tell (the hub works it out from the node names).
    job_id : str
        The launcher's own name of the job, as a user knows it ("4711").
    key : str
        Names this launch and no other: launcher, job, step and restart count
        where they exist. Safe as a part of a file name.
    meeting : str
        The row's default way to meet: "file", "pmi" (the launcher's key-value
        space), "mpi" (what MPI offers) or "private".
    """

    launcher: str
    rank: int
    size: int
    local_rank: int | None
    local_size: int | None
    job_id: str
    key: str
    meeting: str

    @classmethod
    def alone(cls) -> World:
        """Return the World of a process that no launcher started."""
        job = str(os.getpid())
        return cls("local", 0, 1, 0, 1, job, f"local-{job}", "private")
