"""The command lines that check prints."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

from dask_runner.mpi.abi.elf import numbers
from dask_runner.mpi.container_settings import CONTAINER_SETTINGS

if TYPE_CHECKING:
    from dask_runner.mpi.abi.facts import Library
    from dask_runner.mpi.abi.findings import Way

#: Prefixes that cannot be mounted over an image's own.
SHARED_PREFIXES = ("/", "/usr", "/usr/local")


def settings(library: Library, way: Way | None = None) -> tuple[str, ...]:
    """Return the settings of a library that are safe in any container."""
    major = (numbers(library.version) or (0,))[0]
    found = tuple(
        str(setting)
        for setting in CONTAINER_SETTINGS
        if (setting.vendor, setting.major) == (library.vendor, major)
    )
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
