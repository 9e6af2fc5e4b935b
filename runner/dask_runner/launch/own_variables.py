"""The environment variables of this program, and those that make a process a rank.

A launcher makes a process a rank by variables, and some launchers by file descriptors
that variables name. Only one process can be that rank: a child that takes itself for
it asks the launcher in the rank's name. So children must not inherit them.

Two modules have copies of their own, which a test compares, as they run where nothing
of this package is: :mod:`dask_runner.node.follower` and the site hook
(:mod:`dask_runner.programs.sitehook`). ``DASK_RUNNER__`` and the name of an option are
another thing: the variables by which a user sets options, as Dask has them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The place of a rank that ``dask-runner -n`` has started. Where a launcher does not
#: tell its size or its job, a user's job script sets these.
RANK_VARIABLE = "DASKRUNNER_RANK"
SIZE_VARIABLE = "DASKRUNNER_SIZE"
JOB_ID_VARIABLE = "DASKRUNNER_JOB_ID"

#: The directory where the ranks that ``dask-runner -n`` starts meet.
DIRECTORY_VARIABLE = "DASKRUNNER_DIRECTORY"

#: The place of a rank that ``dask-runner --hosts`` has started, the descriptor by which
#: it meets the others, and the process that has started it on its host.
HOST_RANK_VARIABLE = "DASKRUNNER_HOST_RANK"
HOST_LOCAL_RANK_VARIABLE = "DASKRUNNER_HOST_LOCAL_RANK"
HOST_LOCAL_SIZE_VARIABLE = "DASKRUNNER_HOST_LOCAL_SIZE"
HOST_MEETING_VARIABLE = "DASKRUNNER_HOST_MEETING"
HOST_PARENT_VARIABLE = "DASKRUNNER_HOST_PARENT"

#: The nonce of the record of the cluster whose program a process is. It is no secret:
#: who wants to use the cluster needs its record, which lies in the user's home.
CLUSTER_VARIABLE = "DASKRUNNER_CLUSTER"

#: The key of the launch whose program a process is. A runner in that program finds the
#: same launcher, and would wait for ranks that have another part already.
LAUNCH_VARIABLE = "DASKRUNNER_LAUNCH"

#: What ``dask-runner -n`` sets in the ranks that it starts. A script that calls
#: ``srun`` must not hand these on to the ranks of that launch.
OWN_VARIABLES = (
    RANK_VARIABLE,
    SIZE_VARIABLE,
    JOB_ID_VARIABLE,
    DIRECTORY_VARIABLE,
    CLUSTER_VARIABLE,
    LAUNCH_VARIABLE,
    HOST_RANK_VARIABLE,
    HOST_LOCAL_RANK_VARIABLE,
    HOST_LOCAL_SIZE_VARIABLE,
    HOST_MEETING_VARIABLE,
    HOST_PARENT_VARIABLE,
)

#: How many tasks there are, told from outside an emptied environment:
#: ``APPTAINERENV_DASKRUNNER_NTASKS=$SLURM_NTASKS``.
NTASKS_VARIABLE = "DASKRUNNER_NTASKS"

#: The secret by which ranks meet at an address (``--meet``). It is no option, since
#: everybody sees a command line, and no child's: only ranks need it.
VARIABLE_OF_SECRET = "DASK_RUNNER__SECRET"  # noqa: S105  its name

#: The variable of ``--size``, which also tells the number of pods in Kubernetes.
VARIABLE_OF_SIZE = "DASK_RUNNER__SIZE"

#: When the job ends, in seconds since 1970, where the batch system does not tell it.
END_VARIABLE = "DASKRUNNER_JOB_END_TIME"

#: The file that a job script looks for at its end, to queue the job again. It is for
#: the cluster of the job, and not for what that starts.
REQUEUE_VARIABLE = "DASKRUNNER_REQUEUE"

#: How often the job was queued again, for the program: ``DASK_RUNNER_RESTART``.
RESTART_VARIABLE = "DASK_RUNNER_RESTART"

#: Says that the variables of TLS beside it are a cluster's of ours, not the user's.
TLS_VARIABLE = "DASKRUNNER_TLS"

#: The site hook's directory. Without it the hook does nothing.
SITEHOOK_VARIABLE = "DASKRUNNER_SITEHOOK"

#: What the hook tells a Python below the program: where the dashboard is, or how one
#: comes to it; the cluster's name; and of a cluster to which the program was connected,
#: its name, its Python and its Dask.
DASHBOARD_VARIABLE = "DASKRUNNER_DASHBOARD"
NAME_VARIABLE = "DASKRUNNER_NAME"
VERSIONS_VARIABLE = "DASKRUNNER_VERSIONS"

#: The directory of the packages that were added to the program's Python, and that
#: Python: others cannot use them.
PACKAGES_VARIABLE = "DASKRUNNER_PACKAGES"
PACKAGES_FOR_VARIABLE = "DASKRUNNER_PACKAGES_FOR"

#: The prefix of Jupyter's addresses, where it shows our dashboards, for all that it
#: starts.
JUPYTER_VARIABLE = "DASKRUNNER_JUPYTER"

#: What an image's follower, which is no Python, leaves to the Python that it becomes:
#: the descriptor of the connection with the leader, and the child that watches it.
ALONE_VARIABLE = "DASKRUNNER_ALONE"
WATCHED_VARIABLE = "DASKRUNNER_WATCHED"

#: Says that the seed of Python's hashes is ours, not the user's, in a leader.
SEEDED_VARIABLE = "DASKRUNNER_SEEDED"

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
    taken = {
        *rank_variables(environ),
        *OWN_VARIABLES,
        REQUEUE_VARIABLE,
        VARIABLE_OF_SECRET,
        # Another cluster's packages are another's.
        PACKAGES_VARIABLE,
        PACKAGES_FOR_VARIABLE,
    }
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
