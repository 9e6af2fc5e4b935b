"""The World: one rank's place in its launch."""

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
        Rank among the ranks on this node, and their number; None where the launcher
        does not say (the hub works it out from the names of the nodes).
    job_id : str
        The job's name as the user knows it ("4711").
    key : str
        A name that this launch has and no other: launcher, job, step and restart
        count where they exist. Safe as a part of a file name.
    meeting : str
        How the ranks of this launcher meet by default: "file", "pmi" (the launcher's
        key-value space), "mpi" (an MPI broadcast) or "private".
    """

    launcher: str
    rank: int
    size: int
    local_rank: int | None
    local_size: int | None
    job_id: str
    key: str
    meeting: str

    @property
    def ranks_are_nodes(self) -> bool:
        """Whether each rank counts as a node: ``dask-runner -n`` plays a cluster."""
        return self.launcher == "local"

    @property
    def is_one_node(self) -> bool:
        """Whether the launcher says that all ranks are on one node."""
        return self.local_size == self.size and not self.ranks_are_nodes

    @classmethod
    def alone(cls) -> World:
        """Return the World of a process that no launcher started."""
        job = str(os.getpid())
        return cls("local", 0, 1, 0, 1, job, f"local-{job}", "private")
