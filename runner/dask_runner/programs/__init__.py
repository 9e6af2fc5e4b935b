"""The programs that a rank runs as child processes, one module each.

``python -P -m dask_runner.programs.start programs.NAME FD LOG``: FD is the descriptor
of the child's end of the socket pair to the rank's top process, LOG a file for Dask's
log.
"""
