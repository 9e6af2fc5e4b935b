"""dask-mpi's way: initialize() at the top of the script, on every rank."""

from dask.distributed import Client
from dask_mpi import initialize
from measured import measured

initialize(nthreads=1)
with Client() as client:
    measured(client)
