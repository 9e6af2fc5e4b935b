"""The script of a dask-mpi user: a function that is given to execute()."""

from dask.distributed import Client
from dask_mpi import execute
from measured import measured


def program() -> None:
    """Run the client."""
    with Client() as client:
        measured(client)


execute(program, nthreads=1)
