"""MPI that would hang, abort or fall apart: refused, with its cause and a way out.

:func:`before_init` is asked before MPI_Init, :func:`other_library` where the library
may be another family's, and :func:`other_world` after MPI_Init. Which launcher starts
which library is not said here: :mod:`dask_runner.mpi.abi.rules` has one table for these
and for ``check``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError
from dask_runner.launch.numbers import parse_digits_or_none
from dask_runner.mpi import pair
from dask_runner.mpi.abi.elf import numbers
from dask_runner.mpi.abi.findings import Verdict
from dask_runner.mpi.abi.judge import judge
from dask_runner.mpi.abi.vendors import OPENMPI

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dask_runner.mpi.abi.facts import Library
    from dask_runner.mpi.abi.findings import Finding, Way
    from dask_runner.mpi.surroundings import Surroundings

    Environ = Mapping[str, str]

_NEEDED = "an MPI that speaks what the launcher speaks"

# ------------------------------------------------------------------ before MPI


@dataclass(frozen=True, slots=True)
class _Trap:
    """Something that makes MPI hang, abort or fall apart, and is seen beforehand."""

    applies: Callable[[Environ, Surroundings, Library | None], bool]
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
            library is not None
            and library.vendor == "MPICH"
            and numbers(library.version) >= (5,)
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
            and library is not None
            and library.family == OPENMPI
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
    # PMIx tells its server as whom it runs, and Slurm's server closes the connection of
    # anybody but the job's user; the library goes on trying.
    _Trap(
        lambda environ, around, _: (
            _by_srun_and_pmix(environ)
            and environ.get("SLURM_JOB_UID", str(around.user)) != str(around.user)
        ),
        "this container calls you user {around.user} (--fakeroot), and Slurm's PMIx "
        "takes nobody but the job's user: MPI hangs",
        "a container in which you are yourself, for programs with MPI",
        "leave out --fakeroot; or start it by: apptainer exec --fakeroot IMAGE "
        "unshare --user --map-user=$(id -u) --map-group=$(id -g) dask-runner ...",
    ),
)


def before_init(environ: Environ, around: Surroundings, title: str) -> None:
    """Refuse what would make MPI_Init hang or abort.

    Parameters
    ----------
    environ : mapping
    around : Surroundings
    title : str
        What the library calls itself, which may be asked before MPI_Init; empty
        where it is not known.

    Raises
    ------
    ConfigError
    """
    library = pair.library(title)
    for trap in _TRAPS:
        if trap.applies(environ, around, library):
            raise ConfigError(
                trap.saw.format(around=around),
                trap.needed,
                trap.do.format(around=around),
            )


def _by_srun_and_pmix(environ: Environ) -> bool:
    way = pair.way(environ)
    return way is not None and way.kind == "srun-pmix"


def _ranks_share_a_node(environ: Environ) -> bool:
    per_node = environ.get("SLURM_STEP_TASKS_PER_NODE", "")
    counts = (
        per_node.partition("(")[0].partition(",")[0],
        environ.get("MPI_LOCALNRANKS", ""),
        environ.get("OMPI_COMM_WORLD_LOCAL_SIZE", ""),
    )
    return any((parse_digits_or_none(count) or 0) > 1 for count in counts)


def other_library(environ: Environ, title: str) -> None:
    """Refuse a library that the launcher of this process cannot start.

    In MPI_Init it could abort, or speak to an mpiexec that ends the job for it. srun
    does neither, so its ranks come to MPI_Init and compare their worlds.

    Raises
    ------
    ConfigError
    """
    way = pair.way(environ)
    if way is not None and not way.kind.startswith("srun"):
        found = _mismatch(way, title)
        if found is not None:
            raise ConfigError(found.reason, _NEEDED, found.do)


def _mismatch(way: Way | None, title: str) -> Finding | None:
    """Return what check says of a pair that does not fit; None for any other."""
    library = pair.library(title)
    if way is None or library is None:
        return None
    found = judge(way, library)
    return found if found.verdict is Verdict.INCOMPATIBLE else None


# ------------------------------------------------------------------- after MPI


def other_world(environ: Environ, ranks: int, world: int, title: str) -> None:
    """Refuse a world of MPI that is not the launcher's, and name the cause.

    Parameters
    ----------
    environ : mapping
    ranks : int
        What the launcher started.
    world : int
        The size of MPI_COMM_WORLD.
    title : str
        ``MPI.Get_library_version()``.

    Raises
    ------
    ConfigError
    """
    if ranks == world:
        return
    found = _mismatch(pair.way(environ), title)
    # Where the rules see nothing wrong, the library alone can be named.
    cause = found.reason if found else title.strip("\0").partition("\n")[0]
    do = found.do if found else "use the mpiexec that belongs to this library"
    raise ConfigError(
        f"the launcher started {ranks} ranks, but MPI sees a world of {world}: {cause}",
        _NEEDED,
        f"{do}; look at what fits with dask-runner check",
    )
