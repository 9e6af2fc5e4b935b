"""The way in from Python: runners for a ``with``, and dask-mpi's names."""
