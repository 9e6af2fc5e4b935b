"""What the image sets so that MPI works in any container, and why each is set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_runner.found import Found

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Apptainer without setuid gives each rank a user namespace of its own, and a rank
#: may then not look into another's memory. Tried with 4 MiB messages, library by
#: library (make test-abi). The values are images/Dockerfile's.
REASONS = {
    "UCX_POSIX_USE_PROC_LINK": "UCX opens another rank's memory through /proc, which "
    "fails where each rank has a user namespace of its own",
    "MPIR_CVAR_CH4_CMA_ENABLE": "MPICH 5 reads another rank's memory (CMA) and aborts "
    "where each rank has a user namespace of its own",
    "OMPI_MCA_btl_vader_single_copy_mechanism": "Open MPI 4 reads another rank's "
    "memory (CMA) and hangs where each rank has a user namespace of its own",
}


def settings(environ: Mapping[str, str]) -> dict[str, Found[str]]:
    """Return those that are set, each with its reason."""
    return {
        name: Found(environ[name], reason)
        for name, reason in REASONS.items()
        if environ.get(name)
    }
