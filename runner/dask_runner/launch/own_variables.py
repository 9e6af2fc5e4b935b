"""What the processes of a rank inherit of its variables: all that is not its alone.

A rank is its launcher's by its variables, and of some launchers' by descriptors that
variables name. Only one process can be that rank.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_runner.launch.detect import OWN_VARIABLES

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Variables that name file descriptors which only the top process has. A child
#: that calls MPI_Init must not take a stranger's descriptor for its launcher.
DESCRIPTORS = (
    "PMI_FD",
    "PMI_RANK",
    "PMI_SIZE",
    "PMI_PORT",
    "HYDI_CONTROL_FD",
)

#: How the names of variables begin that make a process a rank of its launcher. Only
#: the top process is one: another that calls MPI_Init in its name hangs or fails,
#: where without them it is a world of its own.
RANKS = (
    "PMI_",
    "PMIX_",
    "OMPI_COMM_WORLD_",
    "OMPI_MCA_ess",
    "OMPI_MCA_orte_",
    "OMPI_MCA_pmix",
    "MPI_LOCAL",
)
#: Such names that are settings of the user's.
USERS = ("PMIX_MCA_", "PMI_DEBUG")


def inherited(environ: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    """Return a child's environment: ours, less what only we may use."""
    taken = {*only_the_ranks(environ), *OWN_VARIABLES}
    kept = {name: value for name, value in environ.items() if name not in taken}
    return {**kept, **extra}


def only_the_ranks(environ: Mapping[str, str]) -> list[str]:
    """Return the names of variables that make a process a rank of its launcher."""
    return [
        name
        for name in environ
        if name in DESCRIPTORS
        or (name.startswith(RANKS) and not name.startswith(USERS))
    ]
