"""MPI in this process: what would make it hang or lie is refused before and after.

Only where MPI's rank is the user's process or a worker: all else of a cluster needs
no MPI, or has one in a process of its own (:mod:`dask_runner.node.mpi_broadcast`).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from dask_runner.mpi import image, refusals, surroundings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mpi4py.MPI import Comm

    #: Carries the record's text from rank 0, where it is given, to all ranks.
    Exchange = Callable[[str | None], str]

#: What mpi4py raises where it is not there, or finds no library.
UNUSABLE = (ImportError, RuntimeError)


def begin(environ: Mapping[str, str]) -> Comm:
    """Call MPI_Init, unless that was done before; return MPI_COMM_WORLD.

    Raises
    ------
    ConfigError
        If it would hang, abort or fall apart here.
    ImportError, RuntimeError
        As mpi4py does (:data:`UNUSABLE`).
    """
    if "mpi4py.MPI" not in sys.modules:
        refusals.before_init(
            environ, surroundings.look(environ), image.library(environ)
        )
    from mpi4py import MPI  # noqa: PLC0415  it initialises MPI

    return MPI.COMM_WORLD


def refuse_other_world(environ: Mapping[str, str], ranks: int, comm: Comm) -> None:
    """Refuse a world of MPI that is not the launcher's, of so many ranks.

    Raises
    ------
    ConfigError
    """
    from mpi4py import MPI  # noqa: PLC0415  it is there, and initialised

    title = str(MPI.Get_library_version())
    refusals.other_world(environ, ranks, comm.size, title)


def exchange(environ: Mapping[str, str], ranks: int) -> Exchange | None:
    """Return the broadcast of the launcher's ranks; None where there is no MPI.

    Raises
    ------
    ConfigError
        If there is one, and it does not fit.
    """
    try:
        comm = begin(environ)
    except UNUSABLE:
        return None
    refuse_other_world(environ, ranks, comm)
    return lambda text: str(comm.bcast(text, root=0))
