"""The command lines that check prints."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

from dask_runner.mpi.abi.elf import numbers

if TYPE_CHECKING:
    from dask_runner.mpi.abi.facts import Library
    from dask_runner.mpi.abi.findings import Way

#: Prefixes that cannot be mounted over an image's own.
SHARED_PREFIXES = ("/", "/usr", "/usr/local")

#: What a library needs where each rank has a user namespace of its own, as under
#: Apptainer without setuid: by vendor and major version (make test-abi).
SETTINGS = {
    # Copies from the other process's memory, which it may not see.
    ("Open MPI", 4): ("OMPI_MCA_btl_vader_single_copy_mechanism=none",),
    ("MPICH", 5): ("MPIR_CVAR_CH4_CMA_ENABLE=0",),
}


def settings(library: Library, way: Way | None = None) -> tuple[str, ...]:
    """Return the settings of a library that are safe in any container."""
    major = (numbers(library.version) or (0,))[0]
    found: tuple[str, ...] = SETTINGS.get((library.vendor, major), ())
    if way and way.kind == "orte" and library.prefix not in SHARED_PREFIXES:
        # A launcher that was moved passes its own on, and Open MPI 4 then hangs
        # where the image's is another.
        names = ("OPAL_PREFIX", "PMIX_INSTALL_PREFIX")
        found += tuple(f"{name}={library.prefix}" for name in names)
    return found


def command(way: Way | None, library: Library | None, name: str, *options: str) -> str:
    """Return the line that runs a program of an image in some way."""
    words = [*options]
    if library:
        # An image says in it where its MPI is, and people copy the line.
        words += [f"--env {quote(setting)}" for setting in settings(library, way)]
    started = _typed(way) if way else "LAUNCHER"
    return " ".join([started, "apptainer exec", *words, quote(name), "PROGRAM"])


def _typed(way: Way) -> str:
    return way.command if way.command.startswith("srun") else f"{way.command} -n N"
