"""The variables with which MPI works where each rank has a user namespace of its own.

Unprivileged Apptainer gives each rank one, and the kernel keeps ranks out of each
other's memory and /proc then. The images set all of these (images/Dockerfile,
recipes/dask-runner.def), ``info`` explains them, and ``check`` prints those that an
image of another make needs.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ContainerSetting:
    """One variable.

    Attributes
    ----------
    name, value : str
    reason : str
        What happens without it.
    vendor : str
        Whose library has to have it; empty where only messages are at stake.
    major : int
        In which of its versions.
    """

    name: str
    value: str
    reason: str
    vendor: str = ""
    major: int = 0

    def __str__(self) -> str:
        return f"{self.name}={self.value}"


#: Seen in ``make test-abi``.
CONTAINER_SETTINGS = (
    ContainerSetting(
        "UCX_POSIX_USE_PROC_LINK",
        "n",
        "UCX would open another rank's memory through /proc, which fails between "
        "user namespaces",
    ),
    ContainerSetting(
        "MPIR_CVAR_CH4_CMA_ENABLE",
        "0",
        "MPICH 5 would copy out of another rank's memory, which aborts between user "
        "namespaces",
        "MPICH",
        5,
    ),
    ContainerSetting(
        "OMPI_MCA_btl_vader_single_copy_mechanism",
        "none",
        "Open MPI 4 would copy out of another rank's memory, which hangs between "
        "user namespaces",
        "Open MPI",
        4,
    ),
)
