"""An MPI of the host that is mounted into an image: what keeps it from working."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dask_runner.mpi.abi.commands import SHARED_PREFIXES, command
from dask_runner.mpi.abi.findings import Cell, Finding, Verdict
from dask_runner.mpi.abi.judge import best_way
from dask_runner.mpi.abi.loading import families, modules, symbols
from dask_runner.mpi.abi.vendors import SONAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dask_runner.mpi.abi.facts import Facts, Library


def bind(image: Facts, host: Facts, name: str) -> Iterator[Cell]:
    """Judge each MPI of a host, for the programs of an image."""
    for library in host.libraries:
        finding = _binds(library, image)
        way, started = best_way(library, host)
        if finding.verdict is not Verdict.INCOMPATIBLE:
            finding = max(finding, started, key=lambda each: each.verdict.merit)
        along = _strangers(library, image)
        before = f"APPTAINER_CONTAINLIBS={','.join(along)} " if along else ""
        yield Cell(
            "bind",
            str(way) if way else "",
            f"{library} ({library.path} of the host)",
            finding,
            before
            + command(
                way,
                library,
                name,
                f"--bind {library.prefix}",
                f"--env MPI4PY_LIBMPI={_named(library)}",
            ),
        )


def _named(library: Library) -> str:
    directory = library.path.rpartition("/")[0]
    wanted = SONAMES[library.family]
    name = wanted if wanted in library.names else library.path.rpartition("/")[2]
    return f"{directory}/{name}"


def _binds(library: Library, image: Facts) -> Finding:
    found = (test(library, image) for test in _BIND_TESTS)
    return next(filter(None, found), None) or Finding(
        Verdict.COMPATIBLE,
        "the host's MPI can be bound",
        f"the image's programs can run on {library} of the host",
    )


def _other_family(library: Library, image: Facts) -> Finding | None:
    if not image.modules or modules(library, image):
        return None
    return Finding(
        Verdict.INCOMPATIBLE,
        "mpi4py of another family",
        f"the image's mpi4py was built for {families(image.modules)}, not for "
        f"{library}",
    )


def _other_name(library: Library, image: Facts) -> Finding | None:
    del image
    wanted = SONAMES[library.family]
    if wanted in (*library.names, library.soname):
        return None
    return Finding(
        Verdict.INCOMPATIBLE,
        "the library has another name",
        f"programs ask for {wanted}, and {library} is there as "
        f"{', '.join(library.names)} only",
        "module load cray-mpich-abi, then this check with --mpi $CRAY_MPICH_DIR"
        if library.vendor == "Cray MPICH"
        else "ask the site's administrator for a link by that name",
    )


def _newer_glibc(library: Library, image: Facts) -> Finding | None:
    if not image.glibc or library.glibc <= image.glibc:
        return None
    return Finding(
        Verdict.INCOMPATIBLE,
        "the image's C library is too old",
        f"{library} of the host needs glibc {_dotted(library.glibc)}, the image has "
        f"{_dotted(image.glibc)}",
        "use an image on a distribution as new as the host's",
    )


def _not_found(library: Library, image: Facts) -> Finding | None:
    del image
    if not library.missing:
        return None
    return Finding(
        Verdict.PARTIAL,
        "libraries that were not found",
        f"{library} of the host needs {', '.join(library.missing)}, not found here",
        "run this check on the host with the site's module loaded",
    )


def _nothing_known(library: Library, image: Facts) -> Finding | None:
    if image.modules or any(own.family == library.family for own in image.libraries):
        return None
    return Finding(
        Verdict.PARTIAL,
        "nothing in the image to compare with",
        "the image has no mpi4py and no MPI of this family, so nothing tells what its "
        f"programs need of {library}",
    )


def _open_symbols(library: Library, image: Facts) -> Finding | None:
    return symbols(library, modules(library, image))


def _system_prefix(library: Library, image: Facts) -> Finding | None:
    del image
    if library.prefix not in SHARED_PREFIXES:
        return None
    return Finding(
        Verdict.PARTIAL,
        "the host's MPI lies among the system's libraries",
        f"{library} of the host lies in {library.prefix}, which cannot be mounted "
        "into an image as a whole, and its plugins are not found otherwise",
        "use the image's own MPI, or one of the host's with a prefix of its own",
    )


def _older_interface(library: Library, image: Facts) -> Finding | None:
    newer = [
        own
        for own in image.libraries
        # A file name such as libmpi.so.40 tells no minor version.
        if own.family == library.family
        and own.abi[:2] > library.abi[:2]
        and len(library.abi) > 1
    ]
    if not newer:
        return None
    return Finding(
        Verdict.PARTIAL,
        "the host's interface is older",
        f"{library} of the host has the ABI {_dotted(library.abi)}, programs of the "
        f"image may use {_dotted(newer[0].abi)} of {newer[0]}",
        "try it: mpi4py has what it needs, programs linked in the image may not",
    )


def _outside_prefix(library: Library, image: Facts) -> Finding | None:
    outside = _strangers(library, image)
    if not outside:
        return None
    return Finding(
        Verdict.PARTIAL,
        "libraries outside the prefix",
        f"{library} of the host needs {len(outside)} libraries from outside "
        f"{library.prefix}, which have to come along one by one",
        "use the image's own MPI, or one of the host's with all in its prefix",
    )


#: Their interfaces have been the same for decades, so the image's do as well.
_STABLE = re.compile(r"lib(z|zstd|numa|atomic|udev|crypt|uuid|xml2|lzma|bz2)\.so")


def _strangers(library: Library, image: Facts) -> list[str]:
    """Return the files that an MPI of the host needs and that an image lacks."""
    return [
        path
        for path in library.needs
        for name in [path.rpartition("/")[2]]
        if not (_STABLE.match(name) and _has(image, name))
    ]


def _has(image: Facts, name: str) -> bool:
    # libz.so.1.2.13 of the host is found under the name libz.so.1.
    stem = name.partition(".so")[0] + ".so."
    return any(each.startswith(stem) for each in image.loadable)


# The first that finds something counts.
_BIND_TESTS: tuple[Callable[[Library, Facts], Finding | None], ...] = (
    _other_family,
    _other_name,
    _newer_glibc,
    _not_found,
    _nothing_known,
    _open_symbols,
    _system_prefix,
    _older_interface,
    _outside_prefix,
)


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))
