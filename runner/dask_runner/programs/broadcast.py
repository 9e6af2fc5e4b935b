"""One MPI broadcast, in a process that then ends.

MPI stays out of the top process: no library in it, no rank that the launcher
waits for in MPI_Finalize, and a deadline that is kept by ending this process.
Gets ``Run`` with ``text`` (rank 0: the record; else empty) and ``size``;
answers ``Relay`` or ``Failed``.
"""

from __future__ import annotations

import os
import sys

from dask_runner import messages as m
from dask_runner.programs import lifeline

#: The status in ``Failed`` where MPI cannot be used at all, and something else may.
UNUSABLE = 69
MISMATCH = 78


def main() -> None:
    """Broadcast and answer."""
    channel = lifeline.blocking_channel()
    _print_into(sys.argv[2])
    run = channel.receive()
    if not isinstance(run, m.Run):
        raise SystemExit(0)
    channel.send(_broadcast(run.spec["text"], run.spec["size"]))


def _print_into(path: str) -> None:
    """Let what the MPI library prints go to a file, for the report of a failure."""
    log = os.open(path, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)


def _broadcast(text: str, size: int) -> m.Message:
    try:
        from mpi4py import MPI  # noqa: PLC0415  it initialises MPI
    except (ImportError, RuntimeError) as error:
        # RuntimeError: mpi4py's word for "no MPI library found".
        return m.Failed(f"mpi4py does not work: {error}", "", "", UNUSABLE)
    world = MPI.COMM_WORLD
    if world.size != size:
        library = MPI.Get_library_version().strip("\0").splitlines()[0]
        return m.Failed(
            f"the launcher started {size} ranks, but MPI sees a world of {world.size} "
            f"({library})",
            "an MPI library of the launcher's family",
            "",
            MISMATCH,
        )
    return m.Relay(world.bcast(text if world.rank == 0 else None, root=0))


if __name__ == "__main__":
    main()
