"""The number of OpenBLAS's threads in a fork.

OpenBLAS reads the number once, when NumPy loads it, and starts the threads. Each thread
spins for some 70 million cycles before it sleeps. So the agent loads OpenBLAS with one
thread (:mod:`dask_runner.node.start_agent` sets the variable), and each fork has the
number that a fresh process would have: a worker sets it itself, as it is one again.
For the client it is set before the fork, at which OpenBLAS ends its threads (its
``openblas_fork_handler``). It starts them when the client first needs them.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import TYPE_CHECKING

from dask_runner.launch.numbers import parse_digits_or_none

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The variables that OpenBLAS reads, in this order (its README).
VARIABLES = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS")

#: NumPy's module that is linked with OpenBLAS, since and before NumPy 2.
MODULES = ("numpy._core._multiarray_umath", "numpy.core._multiarray_umath")

#: The names of its functions: in NumPy's wheels and elsewhere, with integers of 64 bits
#: and of 32.
NAMES = (
    "scipy_openblas_{}64_",
    "scipy_openblas_{}",
    "openblas_{}64_",
    "openblas_{}",
)


def heed(environ: Mapping[str, str]) -> None:
    """Set the number of threads that OpenBLAS would have if it were loaded now.

    Without NumPy, or with another BLAS, this does nothing.
    """
    module = next(filter(None, map(sys.modules.get, MODULES)), None)
    if module is None or module.__file__ is None:
        return
    # dlsym(3) also searches the libraries that the module is linked with.
    library = ctypes.CDLL(module.__file__)
    for name in NAMES:
        read = getattr(library, name.format("get_num_threads"), None)
        if read is not None:
            threads = wanted(environ, len(os.sched_getaffinity(0)))
            if read() != threads:
                library[name.format("set_num_threads")](threads)
            return


def wanted(environ: Mapping[str, str], cpus: int) -> int:
    """Return the number of threads that these variables ask for."""
    values = (environ.get(name, "") for name in VARIABLES)
    return min(next(filter(None, map(parse_digits_or_none, values)), cpus), cpus)
