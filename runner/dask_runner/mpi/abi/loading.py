"""Whether mpi4py of an image can load a library, as far as files tell."""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING

from dask_runner.mpi.abi.findings import Finding, Verdict
from dask_runner.mpi.abi.vendors import SONAMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dask_runner.mpi.abi.facts import Facts, Library, Module


def loads(library: Library, image: Facts) -> Finding | None:
    """Return why a library of the image cannot be loaded there at all."""
    if library.missing:
        return Finding(
            Verdict.INCOMPATIBLE,
            "parts of the library are missing",
            f"{library} cannot be loaded: the image has no "
            + ", ".join(library.missing),
            "install what is missing in the image, or build it anew",
        )
    fitting = modules(library, image)
    if image.modules and not fitting:
        return Finding(
            Verdict.INCOMPATIBLE,
            "mpi4py of another family",
            f"the image's mpi4py was built for {families(image.modules)} and its MPI "
            f"is {library}",
            "install mpi4py's wheel in the image, which has a module for either family",
        )
    wanted = SONAMES[library.family]
    # What the modules ask for by name has to be there by that name; a module of
    # the distribution asks for the distribution's.
    if fitting and wanted not in (*library.names, library.soname):
        directory = library.path.rpartition("/")[0]
        return Finding(
            Verdict.INCOMPATIBLE,
            "the library has another name",
            f"mpi4py asks for {wanted}, and {library} is there as "
            f"{', '.join(library.names) or library.soname} only",
            "run in the image: "
            f"ln -s {quote(library.path)} {quote(f'{directory}/{wanted}')}",
        )
    return symbols(library, fitting)


def families(found: Sequence[Module]) -> str:
    """Name the families for which mpi4py was built."""
    return " and ".join(sorted({module.family for module in found}))


def symbols(library: Library, found: Sequence[Module]) -> Finding | None:
    """Return what mpi4py needs of a library and does not find."""
    for module in found:
        open_ = sorted(module.imports - library.exports)
        if open_ and library.exports:
            shown = ", ".join(open_[:4]) + (" …" if len(open_) > 4 else "")  # noqa: PLR2004
            return Finding(
                Verdict.INCOMPATIBLE,
                "functions are missing",
                f"{library} lacks {len(open_)} functions that mpi4py needs: {shown}",
                "use a newer MPI of the same family",
            )
    return None


def modules(library: Library, image: Facts) -> list[Module]:
    """Return mpi4py's modules for a library's family."""
    return [each for each in image.modules if each.family == library.family]
