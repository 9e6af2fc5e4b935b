"""One MPI broadcast, in a process that then ends.

MPI stays out of the top process: no library in it, no rank that the launcher
waits for in MPI_Finalize, and a deadline that is kept by ending this process.
Gets ``Run`` with ``text`` (rank 0: the record; else empty), ``size``, and
``libraries`` (how the version of a fitting library begins); answers ``Relay``, or
``Failed`` where MPI cannot be used by any rank.
"""

from __future__ import annotations

import os
import sys

from dask_runner.hub import messages as m
from dask_runner.programs import lifeline

UNUSABLE = 69


def main() -> None:
    """Broadcast and answer."""
    channel = lifeline.blocking_channel()
    _print_into(sys.argv[2])
    run = channel.receive()
    if not isinstance(run, m.Run):
        raise SystemExit(0)
    spec = run.spec
    channel.send(_broadcast(spec["text"], spec["size"], tuple(spec["libraries"])))


def _print_into(path: str) -> None:
    """Let what the MPI library prints go to a file, for the report of a failure."""
    log = os.open(path, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)


def _broadcast(text: str, size: int, libraries: tuple[str, ...]) -> m.Message:
    try:
        import mpi4py  # noqa: PLC0415  it may not be there

        # A library of another family can abort in MPI_Init, or speak to a launcher
        # that ends the job for it; its version can be asked for before.
        mpi4py.rc.initialize, mpi4py.rc.finalize = False, True
        from mpi4py import MPI  # noqa: PLC0415
    except (ImportError, RuntimeError) as error:
        # RuntimeError: mpi4py's word for "no MPI library found", and then a line for
        # each place where it looked.
        return _failed(f"mpi4py does not work: {str(error).partition(chr(10))[0]}")
    library = MPI.Get_library_version().strip("\0").splitlines()[0]
    if libraries and not library.startswith(libraries):
        return _failed(f"mpi4py's MPI is not the launcher's ({library})")
    MPI.Init()
    world = MPI.COMM_WORLD
    if world.size != size:
        return _failed(
            f"the launcher started {size} ranks, but MPI sees a world of {world.size} "
            f"({library})"
        )
    record = world.bcast(text if world.rank == 0 else None, root=0)
    return m.Relay(record)


def _failed(saw: str) -> m.Failed:
    return m.Failed(saw, "", "", UNUSABLE)


if __name__ == "__main__":
    main()
