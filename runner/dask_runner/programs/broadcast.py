"""One MPI broadcast, in a process of its own.

MPI stays out of the top process, which loads no MPI library and does not wait in
MPI_Finalize; to keep a deadline it kills this process. The process receives
``RunBroadcast``. It answers ``Relay``, or ``Failed`` where no rank can use MPI.
"""

from __future__ import annotations

import os
import sys

from dask_runner.errors import ConfigError
from dask_runner.hub import messages as m
from dask_runner.mpi import refusals
from dask_runner.node import messages as n
from dask_runner.node.instructions import RunBroadcast
from dask_runner.programs import lifeline

UNUSABLE = 69


def main() -> None:
    """Broadcast the record, and answer."""
    channel = lifeline.blocking_channel()
    _print_into(sys.argv[2])
    run = channel.receive()
    if not isinstance(run, RunBroadcast):
        raise SystemExit(0)
    try:
        record = _broadcast(run.text, run.size)
    except ConfigError as error:
        channel.send(m.Failed(error.saw, error.needed, error.do, UNUSABLE))
    else:
        channel.send(n.Relay(record))


def _print_into(path: str) -> None:
    """Redirect stdout and stderr to a file, which the report of a failure shows."""
    log = os.open(path, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)


def _broadcast(text: str, size: int) -> str:
    try:
        import mpi4py  # noqa: PLC0415  it may not be installed

        # MPI_Get_library_version may be called before MPI_Init.
        mpi4py.rc.initialize, mpi4py.rc.finalize = False, True
        from mpi4py import MPI  # noqa: PLC0415
    except (ImportError, RuntimeError) as error:
        # RuntimeError: mpi4py found no MPI library. Each further line of the text is a
        # place where it looked.
        raise ConfigError(
            f"mpi4py does not work: {str(error).partition(chr(10))[0]}",
            "mpi4py and an MPI library",
            "use an image with the launcher's MPI",
        ) from error
    title = str(MPI.Get_library_version())
    refusals.other_library(os.environ, title)
    MPI.Init()
    world = MPI.COMM_WORLD
    refusals.other_world(os.environ, size, world.size, title)
    return str(world.bcast(text if world.rank == 0 else None, root=0))
