"""MPI in the tasks: the process of a rank's worker is the launcher's rank.

Otherwise no process of a cluster is: a launcher counts one process a rank, and a
worker that a nanny starts anew could not join MPI's world a second time. With
``--mpi-tasks`` each rank has an agent of its own, in which its worker lives without
a nanny, with the launcher's variables and sockets.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError
from dask_runner.launch.numbers import parse_digits_or_none
from dask_runner.launch.own_variables import rank_variables
from dask_runner.mpi import here

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_runner.launch.plan import Plan
    from dask_runner.launch.world import World

#: Seconds for the ranks' processes to get through MPI_Finalize.
FINALIZE = 10.0

#: Variables with descriptors by which an MPI library speaks to its launcher.
DESCRIPTOR_VARIABLES = ("PMI_FD", "HYDI_CONTROL_FD")


def check(world: World, plan: Plan, spare: int) -> None:
    """Refuse a plan in which some rank would not come to MPI_Init.

    *spare* nodes wait without workers (``--spare``).

    Raises
    ------
    ConfigError
    """
    if len(plan.workers) < world.size:
        raise ConfigError(
            f"--mpi-tasks, and {len(plan.workers)} of {world.size} ranks work: MPI "
            "would wait for the others without end",
            "a worker in each rank",
            "add --layout shared",
        )
    if spare:
        raise ConfigError(
            f"--mpi-tasks with --spare {spare}: MPI would wait for the spare nodes "
            "without end, and its world cannot lose a rank",
            "one of the two",
            "leave out --spare",
        )


def begin(environ: Mapping[str, str], ranks: int) -> None:
    """Become a rank of MPI's world, which has to be the launcher's.

    Raises
    ------
    ConfigError
    """
    try:
        comm = here.begin(environ)
    except here.UNUSABLE as error:
        raise ConfigError(
            f"mpi4py does not work: {str(error).partition(chr(10))[0]}",
            "mpi4py and an MPI library",
            "use an image with the launcher's MPI; or leave out --mpi-tasks",
        ) from error
    here.refuse_other_world(environ, ranks, comm)


def variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return those that make a process a rank of its launcher."""
    return {name: environ[name] for name in rank_variables(environ)}


def descriptors(environ: Mapping[str, str]) -> list[int]:
    """Return the descriptors that the launcher has left open for its rank."""
    found = []
    for name in DESCRIPTOR_VARIABLES:
        number = parse_digits_or_none(environ.get(name, ""))
        if number is not None and Path(f"/proc/self/fd/{number}").exists():
            found.append(number)
    return found
