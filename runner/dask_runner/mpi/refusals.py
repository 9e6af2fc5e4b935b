"""What no variable tells and no file shows before the start: refused at the start.

Two kinds. An environment that was emptied on the way (``--cleanenv``) makes every
rank a cluster of its own; :func:`refuse_lost_launcher` sees the launcher among the
ancestors. The others concern MPI alone, and are asked for where MPI is used:
:func:`refuse_before_mpi` before MPI_Init, :func:`refuse_world` after it, and
:func:`refuse_two_families` where ranks have told what they run.

Facts come from :class:`~dask_runner.mpi.surroundings.Surroundings`; the rules are pure.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError
from dask_runner.launch.numbers import parse_digits_or_none, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dask_runner.mpi.surroundings import Surroundings

    Environ = Mapping[str, str]

#: How many tasks there are, told from outside an emptied environment:
#: ``APPTAINERENV_DASKRUNNER_NTASKS=$SLURM_NTASKS``.
HINT = "DASKRUNNER_NTASKS"

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

# The variables that a container's engine sets in it, whatever else it empties.
_CONTAINERS = ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER")

_VERSION_5 = re.compile(r"MPICH Version:\s*([5-9]|\d\d)\.")


# ------------------------------------------------------------------ any program


def refuse_lost_launcher(environ: Environ, around: Surroundings) -> None:
    """Refuse a task of a launcher that sees none of the launcher's variables.

    To be called where no launcher was found and none was ruled out.

    Raises
    ------
    ConfigError
    """
    text = environ.get(HINT, "")
    hint = parse_digits_or_none(text or "0")
    if hint is None:
        raise ConfigError(
            f"{HINT} is {quoted(text)}",
            "the number of the launcher's tasks",
            f"set it from the launcher's own (APPTAINERENV_{HINT}=$SLURM_NTASKS), or "
            "leave it out",
        )
    if hint > 1:
        saw = f"{HINT}={hint}, but no launcher's variables"
    else:
        launcher = _launcher_above(around)
        if not launcher or around.terminal or not _contained(environ):
            return
        saw = f"{launcher} started this, but none of its variables are here"
    raise ConfigError(
        f"{saw}: the environment was emptied on the way (--cleanenv, --containall)",
        "the launcher's variables, by which the ranks know their places",
        "leave out --cleanenv and --containall; or add --launcher none for a cluster "
        "of each task alone",
    )


def _contained(environ: Environ) -> bool:
    return any(name in environ for name in _CONTAINERS)


def _launcher_above(around: Surroundings) -> str:
    for words in around.ancestors:
        for pattern, name in _LAUNCHERS:
            if pattern.match(words):
                return name
    return ""


# ------------------------------------------------------------------ before MPI


@dataclass(frozen=True, slots=True)
class _Trap:
    """Something that makes MPI hang, abort or fall apart, and is seen beforehand."""

    applies: Callable[[Environ, Surroundings, str], bool]
    saw: str
    needed: str
    do: str


_TRAPS = (
    _Trap(
        lambda environ, around, _: (
            bool(around.hidden and around.bound) and "MPI4PY_LIBMPI" not in environ
        ),
        "the Python environment has an MPI of its own ({around.hidden[0]}), which "
        "mpi4py takes before the one that is bound ({around.bound[0]})",
        "one MPI, that of the launcher's family",
        "add --env MPI4PY_LIBMPI={around.bound[0]}; or remove the MPI from the Python "
        "environment",
    ),
    _Trap(
        lambda environ, _, library: (
            bool(_VERSION_5.match(library))
            and "PMIX_NAMESPACE" in environ
            and not {"PMI_RANK", "PMI_SIZE"}.isdisjoint(environ)
        ),
        "the launcher offers PMI and PMIx at once, and MPICH 5 takes that for an error",
        "one of the two",
        "start the container by: env -u PMIX_NAMESPACE -u PMIX_RANK apptainer ...",
    ),
    _Trap(
        lambda environ, around, _: (
            "/dev/shm" in around.private  # noqa: S108  compared, not used
            and _ranks_share_a_node(environ)
        ),
        "each container has a /dev/shm of its own, by which ranks of one node would "
        "exchange data: MPI hangs or aborts",
        "the host's /dev/shm in all containers of a node",
        "leave out --contain and --containall, or add --bind /dev/shm",
    ),
    _Trap(
        lambda environ, around, library: (
            "/tmp" in around.private  # noqa: S108  compared, not used
            and library.startswith("Open MPI")
            and any(
                environ.get(name, "").startswith("/tmp")  # noqa: S108  as above
                for name in ("PMIX_SERVER_TMPDIR", "PMIX_SYSTEM_TMPDIR")
            )
        ),
        "the container has a /tmp of its own, and the PMIx server's files are in the "
        "host's",
        "the directory of PMIX_SERVER_TMPDIR in the container",
        "leave out --contain and --containall, or add --bind /tmp",
    ),
)


def refuse_before_mpi(environ: Environ, around: Surroundings, library: str) -> None:
    """Refuse what would make MPI_Init hang or abort.

    Parameters
    ----------
    environ : mapping
    around : Surroundings
    library : str
        ``MPI.Get_library_version()``, which may be asked before MPI_Init; empty
        where it is not known.

    Raises
    ------
    ConfigError
    """
    for trap in _TRAPS:
        if trap.applies(environ, around, library):
            raise ConfigError(
                trap.saw.format(around=around),
                trap.needed,
                trap.do.format(around=around),
            )


def _ranks_share_a_node(environ: Environ) -> bool:
    per_node = environ.get("SLURM_STEP_TASKS_PER_NODE", "")
    counts = (
        per_node.partition("(")[0].partition(",")[0],
        environ.get("MPI_LOCALNRANKS", ""),
        environ.get("OMPI_COMM_WORLD_LOCAL_SIZE", ""),
    )
    return any((parse_digits_or_none(count) or 0) > 1 for count in counts)


# ------------------------------------------------------------------- after MPI


def refuse_world(environ: Environ, ranks: int, world: int, library: str) -> None:
    """Refuse a world of MPI that is not the launcher's, and name the cause.

    Parameters
    ----------
    environ : mapping
    ranks : int
        What the launcher started.
    world : int
        The size of MPI_COMM_WORLD.
    library : str
        ``MPI.Get_library_version()``.

    Raises
    ------
    ConfigError
    """
    if ranks == world:
        return
    shown = library.strip("\0").partition("\n")[0].partition(",")[0]
    cause, do = _cause(environ, library)
    raise ConfigError(
        f"the launcher started {ranks} ranks, but MPI sees a world of {world} "
        f"({shown}){cause}",
        "an MPI that speaks what the launcher speaks",
        f"{do}; look at what fits with dask-runner check",
    )


def _cause(environ: Environ, library: str) -> tuple[str, str]:
    openmpi = library.startswith("Open MPI")
    pmix = "PMIX_NAMESPACE" in environ
    pmi = not {"PMI_RANK", "PMI_FD", "PMI_JOBID"}.isdisjoint(environ)
    plugin = "pmix" if openmpi else "pmi2"
    family = "openmpi" if openmpi else "mpich"
    if "PRTE_LAUNCHED" in environ or "OMPI_COMM_WORLD_SIZE" in environ:
        if openmpi:
            return (
                ": Open MPI 4 cannot be started by mpirun of Open MPI 5",
                "use an image with Open MPI 5, or mpirun of Open MPI 4",
            )
        return (
            ": mpirun is Open MPI's, the library is of the other family",
            "use mpiexec of MPICH, or an image of the family openmpi",
        )
    # Hydra's proxies are often tasks of srun, and bring its variables along.
    if "SLURM_STEP_ID" in environ and "MPI_LOCALRANKID" not in environ:
        if not pmix and not pmi:
            return (
                ": srun gave MPI no wire-up",
                f"srun --mpi={plugin} (srun --mpi=list tells what the site has)",
            )
        offered = "pmix" if pmix else "pmi2"
        return (
            f": srun speaks {offered}, which this library does not",
            f"srun --mpi={plugin}, or use an image of the other family",
        )
    if pmi and openmpi:
        return (
            ": mpiexec is MPICH's or Intel's, the library is of the other family",
            "use mpirun of Open MPI, or an image of the family mpich",
        )
    return "", f"start with the mpiexec of an MPI of the family {family}"


def family(library: str) -> str:
    """Return the family of an MPI that calls itself so; empty for none."""
    if not library:
        return ""
    return "openmpi" if library.startswith("Open MPI") else "mpich"


def refuse_two_families(libraries: Mapping[int, str]) -> None:
    """Refuse ranks of one job that run MPIs of two families, and name them.

    Parameters
    ----------
    libraries : mapping of int to str
        By rank, as :func:`dask_runner.mpi.image.library` says it.

    Raises
    ------
    ConfigError
    """
    families: dict[str, list[int]] = {}
    for rank, library in sorted(libraries.items()):
        if not library:
            continue
        families.setdefault(family(library), []).append(rank)
    if len(families) < 2:  # noqa: PLR2004
        return
    shown = {
        name: ", ".join(map(str, ranks[:4])) + (" …" if len(ranks) > 4 else "")  # noqa: PLR2004
        for name, ranks in families.items()
    }
    odd = min(families, key=lambda name: len(families[name]))
    version = Counter(libraries[rank] for rank in families[odd]).most_common(1)[0][0]
    raise ConfigError(
        "one job has MPIs of two families: "
        + "; ".join(f"{name} in rank {ranks}" for name, ranks in shown.items()),
        "one image for all ranks, and the same MPI bound into it on all nodes",
        f"look for what differs on these ranks' nodes: {version.splitlines()[0]}",
    )
