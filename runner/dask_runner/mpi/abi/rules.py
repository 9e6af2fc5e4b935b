"""Which launcher can start which MPI library: a table, first match counts.

Each row was seen in real runs (make test-abi runs the matrix) or is documented by
those who write the software; where a row says `partial`, neither is so, or it was
seen to end one way here and another there. The facts behind a verdict are the
arguments alone, so a row can be tried on any pair.

The table is longer than a module should be, and is kept in one piece because the
order of its rows is what it says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_runner.mpi.abi.elf import numbers
from dask_runner.mpi.abi.findings import Rule, Verdict
from dask_runner.mpi.abi.vendors import MPICH, OPENMPI

if TYPE_CHECKING:
    from collections.abc import Callable

    from dask_runner.mpi.abi.facts import Library
    from dask_runner.mpi.abi.findings import Way

#: The oldest and, since version 6, the oldest server that PMIx speaks with
#: (openpmix docs/versions.rst and pull request 4261).
_PMIX_FLOOR, _PMIX6_SERVER_FLOOR = (2, 1), (3, 2)
#: Their shared memory cannot be read by other releases (openpmix docs/versions.rst).
_PMIX_ALONE = ((5, 0, 0), (5, 0, 1))

_SRUN_PMI = ("srun-pmi2",)
_HYDRA = ("hydra", "intel")


def _kind(*kinds: str) -> Callable[[Way, Library], bool]:
    return lambda way, library: way.kind in kinds and bool(library)


def _openmpi(way: Way, library: Library, *kinds: str) -> bool:
    return way.kind in kinds and library.family == OPENMPI


def _mpich(way: Way, library: Library, *kinds: str) -> bool:
    return way.kind in kinds and library.family == MPICH


def _major(version: str) -> int:
    return (numbers(version) or (0,))[0]


def _old_pmix(way: Way, library: Library) -> bool:
    client, server = numbers(library.pmix), numbers(way.version)
    return (
        way.kind == "srun-pmix"
        and (
            () < client < _PMIX_FLOOR
            # A plugin's name alone tells no more than the major version.
            or () < server < _PMIX_FLOOR[: len(server)]
            or (client >= (6,) and () < server < _PMIX6_SERVER_FLOOR[: len(server)])
        )
    )


def _lone_pmix(way: Way, library: Library) -> bool:
    pair = {numbers(library.pmix)[:3], numbers(way.version)[:3]}
    return (
        way.kind == "srun-pmix" and len(pair) > 1 and not pair.isdisjoint(_PMIX_ALONE)
    )


RULES: tuple[Rule, ...] = (
    Rule(
        "no wire-up",
        _kind("srun-none"),
        Verdict.INCOMPATIBLE,
        "{way.command} gives MPI no wire-up: every task is rank 0 of 1, with status 0",
        "srun --mpi=pmix for Open MPI, srun --mpi=pmi2 for MPICH; srun --mpi=list "
        "tells what the site has",
    ),
    Rule(
        "Cray MPICH under Slurm on a Cray",
        lambda way, library: way.kind == "srun-cray" and library.vendor == "Cray MPICH",
        Verdict.COMPATIBLE,
        "{library} speaks Cray's own PMI with {way}",
    ),
    Rule(
        "another MPI under Cray's PMI",
        _kind("srun-cray"),
        Verdict.INCOMPATIBLE,
        "{way} speaks Cray's own PMI, which {library} does not: each task is rank 0 "
        "of 1",
        "bind the site's MPI: module load cray-mpich-abi, then this check with "
        "--mpi $CRAY_MPICH_DIR",
    ),
    # --- Open MPI's mpiexec
    Rule(
        "Open MPI 4 under the launcher of 5",
        lambda way, library: (
            _openmpi(way, library, "prte") and 0 < _major(library.version) < 5  # noqa: PLR2004
        ),
        Verdict.INCOMPATIBLE,
        "{library} waits for variables that only Open MPI 4's launcher sets, and "
        "{way} is newer: each process is rank 0 of 1",
        "use an image with Open MPI 5, or mpiexec of Open MPI 4",
    ),
    Rule(
        "Open MPI under its launcher",
        lambda way, library: (
            _openmpi(way, library, "prte", "orte")
            and _major(library.version) >= 4  # noqa: PLR2004
            and (way.kind == "prte" or _major(way.version) >= 4)  # noqa: PLR2004
        ),
        Verdict.COMPATIBLE,
        "{library} can be started by {way}",
    ),
    Rule(
        "Open MPI of unknown version",
        lambda way, library: _openmpi(way, library, "prte", "orte"),
        Verdict.PARTIAL,
        "{library} and {way} are one family, but not both versions could be read, or "
        "one is older than 4",
        "try it: {way.command} -n 4 with a program that prints the size of its world",
    ),
    Rule(
        "MPICH with PMIx under Open MPI's launcher",
        lambda way, library: (
            _mpich(way, library, "prte", "orte") and "pmix" in library.pmi
        ),
        Verdict.PARTIAL,
        "{library} was built with PMIx, as {way.command} speaks; the pair is untried",
        "try it: {way.command} -n 4 with a program that prints the size of its world",
    ),
    Rule(
        "MPICH under Open MPI's launcher",
        lambda way, library: _mpich(way, library, "prte", "orte"),
        Verdict.INCOMPATIBLE,
        "{way} is Open MPI's and speaks PMIx, {library} speaks PMI-1: it aborts, or "
        "each process is rank 0 of 1",
        "use an image of the family openmpi, or mpiexec of MPICH",
    ),
    # --- Hydra: MPICH's and Intel's mpiexec
    Rule(
        "Open MPI under Hydra",
        lambda way, library: _openmpi(way, library, *_HYDRA),
        Verdict.INCOMPATIBLE,
        "{way} is Hydra and speaks PMI-1, {library} does not: each process is rank 0 "
        "of 1",
        "use an image of the family mpich, or mpiexec of Open MPI",
    ),
    Rule(
        "Intel MPI under an old Hydra",
        lambda way, library: (
            way.kind == "hydra"
            and library.vendor == "Intel MPI"
            and numbers(way.version) < (4, 2)
        ),
        Verdict.PARTIAL,
        "{library} crashed in MPI_Init under Hydra 3.4 and 4.0 on some systems and ran "
        "on others; {way} may be one of these",
        "use Intel's own mpiexec.hydra, or an image with MPICH",
    ),
    Rule(
        "MPICH's ABI under Hydra",
        lambda way, library: _mpich(way, library, *_HYDRA) and "pmi1" in library.pmi,
        Verdict.COMPATIBLE,
        "{library} and {way} both speak PMI-1",
    ),
    Rule(
        "an MPICH that no PMI-1 was seen in, under Hydra",
        lambda way, library: _mpich(way, library, *_HYDRA),
        Verdict.PARTIAL,
        "no PMI-1 was seen in {library}, which {way.command} speaks",
        "try it: {way.command} -n 4 with a program that prints the size of its world",
    ),
    # --- srun --mpi=pmi2, whose plugin also serves PMI-1
    Rule(
        "Open MPI 5 with PMI-2",
        lambda way, library: (
            _openmpi(way, library, *_SRUN_PMI) and _major(library.version) >= 5  # noqa: PLR2004
        ),
        Verdict.INCOMPATIBLE,
        "Open MPI 5 knows no PMI-2: each task of {way.command} is rank 0 of 1",
        "srun --mpi=pmix; where the site has no such plugin, use an image of the "
        "family mpich",
    ),
    Rule(
        "Open MPI 4 with PMI-2",
        lambda way, library: (
            _openmpi(way, library, *_SRUN_PMI) and "pmi2" in library.pmi
        ),
        Verdict.COMPATIBLE,
        "{library} has the component for PMI-2, which {way.command} speaks",
    ),
    Rule(
        "Open MPI without PMI-2",
        lambda way, library: (
            _openmpi(way, library, *_SRUN_PMI) and bool(_major(library.version))
        ),
        Verdict.INCOMPATIBLE,
        "{library} was built without PMI-2, which {way.command} speaks",
        "srun --mpi=pmix; where the site has no such plugin, use an image of the "
        "family mpich",
    ),
    Rule(
        "Intel MPI with Slurm's PMI",
        lambda way, library: way.kind in _SRUN_PMI and library.vendor == "Intel MPI",
        Verdict.PARTIAL,
        "{library} runs under {way.command} where all nodes have as many tasks, and "
        "fails in MPI_Init where one has fewer",
        "{way.command} --ntasks-per-node=N",
    ),
    Rule(
        "MPICH 5 with Slurm's PMI",
        lambda way, library: (
            way.kind in _SRUN_PMI
            and library.vendor == "MPICH"
            and _major(library.version) >= 5  # noqa: PLR2004
        ),
        Verdict.PARTIAL,
        "{library} runs under {way.command} on one node; over several it may exchange "
        "what Slurm's plugin cannot take, where the program has used much memory "
        "before MPI starts",
        "use an image with MPICH 4, or one node (-N1), or let the program import "
        "mpi4py first",
    ),
    Rule(
        "MPICH's ABI with Slurm's PMI",
        lambda way, library: (
            _mpich(way, library, *_SRUN_PMI)
            and not {"pmi1", "pmi2"}.isdisjoint(library.pmi)
            and library.vendor != "Cray MPICH"
        ),
        Verdict.COMPATIBLE,
        "{library} and the plugin of {way.command} both speak PMI-1 or PMI-2",
    ),
    # --- srun --mpi=pmix
    Rule(
        "Intel MPI with PMIx",
        lambda way, library: (
            way.kind == "srun-pmix"
            and library.vendor == "Intel MPI"
            and "pmix" not in library.pmi
        ),
        Verdict.INCOMPATIBLE,
        "{library} speaks PMIx by a library of the host alone (I_MPI_PMI_LIBRARY); "
        "without, each task of {way.command} is rank 0 of 1",
        "srun --mpi=pmi2",
    ),
    Rule(
        "no PMIx in the library",
        lambda way, library: (
            way.kind == "srun-pmix"
            and "pmix" not in library.pmi
            and (library.family == MPICH or _major(library.version) > 0)
        ),
        Verdict.INCOMPATIBLE,
        "{library} was built without PMIx, which {way.command} speaks: it aborts, or "
        "each task is rank 0 of 1",
        "srun --mpi=pmi2 for MPICH; or use an image whose MPI has PMIx",
    ),
    Rule(
        "PMIx that is too old",
        _old_pmix,
        Verdict.INCOMPATIBLE,
        "PMIx {library.pmix} of {library} and {way} cannot speak with each other: one "
        "is too old for the other",
        "use an image whose Open MPI has a PMIx of the host's major version",
    ),
    Rule(
        "PMIx 3 with a server of 5",
        lambda way, library: (
            way.kind == "srun-pmix"
            and _major(library.pmix) == 3  # noqa: PLR2004
            and _major(way.version) >= 5  # noqa: PLR2004
        ),
        Verdict.PARTIAL,
        "PMIx {library.pmix} of {library} warns of components that it lacks under "
        "{way}, runs on some systems and hangs or aborts on others",
        "PMIX_MCA_gds=hash {way.command}; or use an image with Open MPI 5",
    ),
    Rule(
        "PMIx 5.0.0 or 5.0.1 with another",
        _lone_pmix,
        Verdict.PARTIAL,
        "PMIx 5.0.0 and 5.0.1 share memory with no other release: {library.pmix} in "
        "the image, {way} on the host",
        "PMIX_MCA_gds=hash {way.command}",
    ),
    Rule(
        "PMIx of unknown version",
        lambda way, library: (
            way.kind == "srun-pmix" and not (library.pmix and way.version)
        ),
        Verdict.PARTIAL,
        "{library} and {way} both speak PMIx, but not both versions could be read",
        "try it: {way.command} -n 4 with a program that prints the size of its world",
    ),
    Rule(
        "MPICH with PMIx",
        lambda way, library: way.kind == "srun-pmix" and library.family == MPICH,
        Verdict.PARTIAL,
        "{library} was built with PMIx, as {way.command} speaks; the pair is untried",
        "try it: {way.command} -n 4 with a program that prints the size of its world",
    ),
    Rule(
        "Open MPI with PMIx",
        lambda way, library: _openmpi(way, library, "srun-pmix"),
        Verdict.COMPATIBLE,
        "{library} with PMIx {library.pmix} can be started by {way}",
    ),
)

#: For a pair that none of them is about.
UNKNOWN = Rule(
    "no rule",
    _kind(),
    Verdict.PARTIAL,
    "too little is known of {library} under {way}",
    "try it: {way.command} -n 4 with a program that prints the size of its world",
)
