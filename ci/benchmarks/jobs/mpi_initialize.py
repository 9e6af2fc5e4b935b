"""The script of a dask-mpi user: every rank calls initialize() first."""

from dask.distributed import Client
from dask_mpi import initialize
from measured import measured

initialize(nthreads=1)
with Client() as client:
    measured(client)
