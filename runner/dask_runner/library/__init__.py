"""The Python interface: runners for a ``with``, and dask-mpi's functions."""
