"""dask-mpi's other way: a function given to execute()."""

from dask.distributed import Client
from dask_mpi import execute
from measured import measured


def program() -> None:
    """Be the client."""
    with Client() as client:
        measured(client)


execute(program, nthreads=1)
