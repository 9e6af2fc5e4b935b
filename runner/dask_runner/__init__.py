"""A whole Dask cluster from one container image and one srun or mpiexec line.

Importing this package does nothing: no signal handler, no ``MPI_Init``, no
configuration. The names of the Python interface are loaded when first used.
"""

from __future__ import annotations

# A follower (dask_runner.node.follower) starts faster without the module "typing".
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from dask_runner.launch.world import World
    from dask_runner.library.cluster import Cluster
    from dask_runner.library.dask_mpi import execute, initialize
    from dask_runner.library.runners import (
        BaseRunner,
        MPIRunner,
        Runner,
        SLURMRunner,
        SlurmRunner,
    )

__version__ = "0.2.0"

__all__ = [
    "BaseRunner",
    "Cluster",
    "MPIRunner",
    "Runner",
    "SLURMRunner",
    "SlurmRunner",
    "World",
    "__version__",
    "execute",
    "initialize",
]

_MODULES = {
    "BaseRunner": "library.runners",
    "Cluster": "library.cluster",
    "MPIRunner": "library.runners",
    "Runner": "library.runners",
    "SLURMRunner": "library.runners",
    "SlurmRunner": "library.runners",
    "World": "launch.world",
    "execute": "library.dask_mpi",
    "initialize": "library.dask_mpi",
}


def __getattr__(name: str) -> Any:
    # PEP 562: a rank's top process imports this package and must not load Dask.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415  as "typing"

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
