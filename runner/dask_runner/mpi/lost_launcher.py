"""A task of a launcher whose variables were lost on the way: refused at the start.

An environment that was emptied (``--cleanenv``; Podman, which gives a container no more
than it is told to) would make every rank a cluster of its own. What is left are the
launcher among the ancestors, the control group of Slurm's step, and a hint from
outside.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError
from dask_runner.launch.numbers import parse_digits_or_none, quoted
from dask_runner.launch.own_variables import NTASKS_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_runner.mpi.surroundings import Surroundings

# What a launcher's process of a node is called, and what it started. Slurm's says
# whose task it is: "slurmstepd: [34.0]"; batch, extern and interactive steps have
# names there, and no tasks.
_LAUNCHERS = (
    (re.compile(r"slurmstepd: \[\d+\.\d+"), "srun"),
    (re.compile(r"(\S*/)?hydra_pmi_proxy\b"), "mpiexec of MPICH or Intel MPI"),
    (re.compile(r"(\S*/)?(prted|prterun)\b"), "mpirun of Open MPI 5"),
    (re.compile(r"(\S*/)?orted\b"), "mpirun of Open MPI 4"),
    (re.compile(r"(\S*/)?(palsd|flux-shell)\b"), "PALS or Flux"),
)

# The variables that a container's engine sets in it, whatever else it empties. The last
# is Podman's.
_ENGINE = "container"
_CONTAINERS = ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER", _ENGINE)


def refuse(environ: Mapping[str, str], around: Surroundings) -> None:
    """Refuse a task of a launcher that sees none of the launcher's variables.

    To be called where no launcher was found and none was ruled out.

    Raises
    ------
    ConfigError
    """
    text = environ.get(NTASKS_VARIABLE, "")
    hint = parse_digits_or_none(text or "0")
    if hint is None:
        raise ConfigError(
            f"{NTASKS_VARIABLE} is {quoted(text)}",
            "the number of the launcher's tasks",
            "set it from the launcher's own "
            f"(APPTAINERENV_{NTASKS_VARIABLE}=$SLURM_NTASKS), or leave it out",
        )
    if hint > 1:
        saw = f"{NTASKS_VARIABLE}={hint}, but no launcher's variables"
    else:
        launcher = _launcher_of(around)
        alone = hint == 1 and text
        if alone or not launcher or around.terminal or not _contained(environ):
            return
        saw = f"{launcher} started this, but none of its variables are here"
    raise ConfigError(
        f"{saw}: the environment was emptied on the way",
        "the launcher's variables, by which the ranks know their places",
        "leave out --cleanenv and --containall, or give Podman the variables (-e "
        "'SLURM*'); or add --launcher none for a cluster of each task alone",
    )


def _contained(environ: Mapping[str, str]) -> bool:
    return any(name in environ for name in _CONTAINERS)


def note(environ: Mapping[str, str], around: Surroundings) -> str:
    """Return what the user of a rank that is alone should know; empty for nothing.

    To be called where :func:`refuse` has refused nothing. Podman may hide everything
    that tells of a launcher, and most who run one container have none.
    """
    if environ.get(_ENGINE) != "podman" or around.terminal:
        return ""
    if NTASKS_VARIABLE in environ:
        return ""
    return (
        "in Podman, and no launcher's variables: a cluster of one. If srun started "
        "this, add -e 'SLURM*' to Podman's line"
    )


def _launcher_of(around: Surroundings) -> str:
    if around.step:
        return f"srun (Slurm's step {around.step}, by the control group)"
    for command in around.ancestors:
        for pattern, name in _LAUNCHERS:
            if pattern.match(command):
                return name
    return ""
