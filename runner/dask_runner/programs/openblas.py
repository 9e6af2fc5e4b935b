"""How many threads OpenBLAS has, in a fork.

It reads that once, when NumPy loads it, and starts the threads, each of which looks
for work without a pause for some 70 million cycles. The agent loads it for others, so
it does that with one thread (:data:`dask_runner.node.children.BEFORE`); those whom it
forks for set the number that a fresh process would have read.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import TYPE_CHECKING

from dask_runner.launch.numbers import parse_digits_or_none

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The variables that it heeds, in this order (OpenBLAS's README).
VARIABLES = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS")

#: NumPy's module that is linked with it, since and before NumPy 2.
MODULES = ("numpy._core._multiarray_umath", "numpy.core._multiarray_umath")

#: How its functions are called: in NumPy's wheels, elsewhere; with integers of 64 bits
#: and of 32.
NAMES = (
    "scipy_openblas_{}64_",
    "scipy_openblas_{}",
    "openblas_{}64_",
    "openblas_{}",
)


def heed(environ: Mapping[str, str]) -> None:
    """Let it have as many threads as it would if it were loaded now.

    Does nothing where NumPy is not loaded, or has another BLAS.
    """
    module = next(filter(None, map(sys.modules.get, MODULES)), None)
    if module is None or module.__file__ is None:
        return
    # A look-up in its handle goes on to the libraries that it needs (dlsym(3)).
    library = ctypes.CDLL(module.__file__)
    for name in NAMES:
        read = getattr(library, name.format("get_num_threads"), None)
        if read is not None:
            threads = wanted(environ, len(os.sched_getaffinity(0)))
            if read() != threads:
                library[name.format("set_num_threads")](threads)
            return


def wanted(environ: Mapping[str, str], cpus: int) -> int:
    """Return the number of threads that these variables mean."""
    values = (environ.get(name, "") for name in VARIABLES)
    return min(next(filter(None, map(parse_digits_or_none, values)), cpus), cpus)
