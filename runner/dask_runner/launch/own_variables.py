"""The variables that belong to one rank, which its child processes must not inherit.

A launcher makes a process a rank by variables, and some launchers by file descriptors
that variables name. Only one process can be that rank: a child that takes itself for
it asks the launcher in the rank's name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The directory where the ranks that ``dask-runner -n`` starts meet.
DIRECTORY_VARIABLE = "DASKRUNNER_DIRECTORY"

#: The nonce of the record of the cluster whose program a process is. It is no secret:
#: who wants to use the cluster needs its record, which lies in the user's home.
CLUSTER_VARIABLE = "DASKRUNNER_CLUSTER"

#: What ``dask-runner -n`` sets in the ranks that it starts. A script that calls
#: ``srun`` must not hand these on to the ranks of that launch.
OWN_VARIABLES = (
    "DASKRUNNER_RANK",
    "DASKRUNNER_SIZE",
    "DASKRUNNER_JOB_ID",
    DIRECTORY_VARIABLE,
    CLUSTER_VARIABLE,
)

#: Hydra's variables, most of which name a connection that only the top process has.
#: In a child, another file may have the same descriptor by then.
HYDRA_VARIABLES = (
    "PMI_FD",
    "PMI_RANK",
    "PMI_SIZE",
    "PMI_PORT",
    "HYDI_CONTROL_FD",
)

#: Prefixes of the variables that make a process a rank of its launcher. A second
#: process that calls MPI_Init with them hangs or fails; without them it is a world of
#: its own.
RANK_PREFIXES = (
    "PMI_",
    "PMIX_",
    "OMPI_COMM_WORLD_",
    "OMPI_MCA_ess",
    "OMPI_MCA_orte_",
    "OMPI_MCA_pmix",
    "MPI_LOCAL",
)
#: Prefixes of the variables among those that are the user's settings.
SETTING_PREFIXES = ("PMIX_MCA_", "PMI_DEBUG")


def inherited(environ: Mapping[str, str], extra: Mapping[str, str]) -> dict[str, str]:
    """Return a child's environment: this one without the rank's own, and *extra*."""
    taken = {*rank_variables(environ), *OWN_VARIABLES}
    kept = {name: value for name, value in environ.items() if name not in taken}
    return {**kept, **extra}


def rank_variables(environ: Mapping[str, str]) -> list[str]:
    """Return the names of variables that make a process a rank of its launcher."""
    return [
        name
        for name in environ
        if name in HYDRA_VARIABLES
        or (name.startswith(RANK_PREFIXES) and not name.startswith(SETTING_PREFIXES))
    ]
