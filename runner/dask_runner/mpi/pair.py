"""The launcher and the MPI library of a process, as the rules of check know them.

``check`` reads files and knows much; a process knows its variables and what its
library calls itself. Both get their verdicts from :mod:`dask_runner.mpi.abi.rules`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_runner.mpi.abi.facts import Library
from dask_runner.mpi.abi.findings import Way
from dask_runner.mpi.abi.vendors import titled

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class _Mark:
    """Variables that a launcher sets for MPI in its processes.

    Attributes
    ----------
    names : tuple of str
        All of them have to be there.
    command, kind : str
        As :class:`~dask_runner.mpi.abi.findings.Way` has them.
    version : str
        The variable with its version; empty for none.
    """

    names: tuple[str, ...]
    command: str
    kind: str
    version: str = ""


_STEP = "SLURM_STEP_ID"

# The first that matches counts. Daemons of an mpiexec are often tasks of srun and
# hand its variables on, so srun comes last.
_MARKS = (
    _Mark(("PRTE_LAUNCHED",), "mpirun", "prte", "OMPI_VERSION"),
    _Mark(("OMPI_COMM_WORLD_SIZE",), "mpirun", "orte"),
    _Mark(("I_MPI_HYDRA_UUID",), "mpiexec", "intel"),
    _Mark(("MPI_LOCALRANKID",), "mpiexec", "hydra"),
    _Mark((_STEP, "PMI_CONTROL_PORT"), "srun --mpi=cray_shasta", "srun-cray"),
    _Mark((_STEP, "PMIX_NAMESPACE"), "srun --mpi=pmix", "srun-pmix", "PMIX_VERSION"),
    _Mark((_STEP, "PMI_FD"), "srun --mpi=pmi2", "srun-pmi2"),
    _Mark((_STEP,), "srun", "srun-none"),
)


def way(environ: Mapping[str, str]) -> Way | None:
    """Return how this process was started; None where no rule knows its launcher."""
    for mark in _MARKS:
        if all(name in environ for name in mark.names):
            return Way(mark.command, mark.kind, environ.get(mark.version, ""))
    return None


def library(title: str) -> Library | None:
    """Return the library that calls itself so; None for none and for unknown ones."""
    known = titled(title)
    if known is None:
        return None
    vendor, version = known
    return Library("", vendor.family, vendor.name, version, pmi=vendor.pmi)
