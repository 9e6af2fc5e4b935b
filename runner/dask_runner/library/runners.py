"""The runners: ``with SlurmRunner() as runner, Client(runner) as client:``.

There is one class for each way to start ranks; :mod:`dask_runner.library.base` has what
they share.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from dask_runner.errors import ConfigError
from dask_runner.launch.detect import detect
from dask_runner.launch.world import World
from dask_runner.library.base import BaseRunner
from dask_runner.mpi import here

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mpi4py.MPI import Comm


__all__ = ["BaseRunner", "MPIRunner", "Runner", "SLURMRunner", "SlurmRunner"]


class Runner(BaseRunner):
    """A cluster of the ranks of any launcher, or of none, in the layout "shared"."""

    layout = "shared"


class SlurmRunner(BaseRunner):
    """A cluster of the tasks of one ``srun``.

    Parameters
    ----------
    scheduler_file : str, optional
        Where the ranks meet, on a file system that all nodes share; ``{job_id}``
        is replaced. Default: the home directory.
    **options
        As for :class:`BaseRunner`.
    """

    launcher = "slurm"


SLURMRunner = SlurmRunner


class MPIRunner(BaseRunner):
    """A cluster of the ranks of an MPI program.

    Parameters
    ----------
    comm : mpi4py.MPI.Comm, optional
        Default: ``COMM_WORLD``. Only its rank, size and one broadcast are used.
    **options
        As for :class:`BaseRunner`.
    """

    def __init__(self, comm: Comm | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._comm = comm
        self._whole = comm is None

    def world(self, environ: Mapping[str, str]) -> World:
        """Return the rank and size that MPI gives, and the launcher's other fields."""
        comm = self._communicator()
        found = detect(environ, self._choice)
        if found is not None and found.size == comm.size and found.rank == comm.rank:
            return found
        if found is not None and self._whole:
            here.refuse_other_world(environ, found.size, comm)
        return World("mpi", comm.rank, comm.size, None, None, "mpi", "mpi", "mpi")

    def _communicator(self) -> Comm:
        if self._comm is None:
            try:
                with self._deadline("MPI_Init"):
                    self._comm = here.begin(os.environ)
            except here.UNUSABLE as error:
                raise ConfigError(
                    f"mpi4py does not work: {error}",
                    "mpi4py and an MPI library",
                    "pip install mpi4py, or use SlurmRunner or the command line, "
                    "which need no MPI",
                ) from error
        return self._comm

    def exchange(self, text: str | None) -> str:
        """Broadcast the record."""
        return str(self._communicator().bcast(text, root=0))
