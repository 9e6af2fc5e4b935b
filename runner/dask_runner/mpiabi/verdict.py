"""From the facts of an image and of a host to a verdict with its reason.

Two models. In the hybrid one the image's own MPI is started by the host's
launcher; in the bind one the image's programs run on an MPI of the host that is
mounted into it. One working way of either is enough.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dask_runner.mpiabi.elf import numbers
from dask_runner.mpiabi.fabrics import FABRICS
from dask_runner.mpiabi.facts import MPIABI, MPICH, OPENMPI, SONAMES
from dask_runner.mpiabi.rules import Finding, Verdict, Way, judge, ways

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dask_runner.mpiabi.facts import Facts, Library, Module

#: Prefixes that cannot be mounted over an image's own.
_SHARED_PREFIXES = ("/", "/usr", "/usr/local")

_ORDER = list(Verdict)


@dataclass(frozen=True, slots=True)
class Cell:
    """One way to run MPI programs of an image on a host.

    Attributes
    ----------
    model : str
        hybrid or bind.
    way : str
        What starts the ranks.
    library : str
        Which MPI they use, with its path.
    finding : Finding
    command : str
        How to do it, where it works.
    """

    model: str
    way: str
    library: str
    finding: Finding
    command: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """The verdict on a pair.

    Attributes
    ----------
    verdict : Verdict
        That of the best cell, unless something holds for all of them.
    reason : str
        In one sentence.
    do : tuple of str
        The ways out, the best first: command lines where there are any.
    cells : tuple of Cell
    image, host : Facts
    """

    verdict: Verdict
    reason: str
    do: tuple[str, ...]
    cells: tuple[Cell, ...]
    image: Facts
    host: Facts = field(repr=False)


def compare(image: Facts, host: Facts, name: str = "IMAGE") -> Report:
    """Judge whether MPI programs of an image run on a host.

    Parameters
    ----------
    image, host : Facts
    name : str, optional
        What to call the image in command lines.
    """
    if image.arch and host.arch and image.arch != host.arch:
        return Report(
            Verdict.INCOMPATIBLE,
            f"the image is for {image.arch}, the host is {host.arch}",
            (f"build the image on {host.arch}: make sif, or apptainer build",),
            (),
            image,
            host,
        )
    cells = (*_hybrid(image, host, name), *_bind(image, host, name))
    cells = tuple(_without_fabric(cell, image, host) for cell in cells)
    return _conclude(cells, image, host, name)


def _hybrid(image: Facts, host: Facts, name: str) -> Iterator[Cell]:
    library = _own(image)
    for way in ways(host):
        if library is None:
            finding = Finding(
                Verdict.INCOMPATIBLE,
                "no MPI in the image",
                "the image has no MPI library",
                "bind one of the host's, or build with one: "
                "dask-runner recipe --like-host",
            )
        else:
            finding = _loads(library, image) or judge(way, library)
        yield Cell(
            "hybrid",
            str(way),
            f"{library} ({library.path})" if library else "",
            finding,
            _command(way, library, name),
        )


def _own(image: Facts) -> Library | None:
    """Return the MPI that a program of the image gets."""
    speaks = {module.family for module in image.modules} or {OPENMPI, MPICH}
    fitting = [each for each in image.libraries if each.family in speaks]
    # A library of the standard ABI stands beside its vendor's own.
    others = [each for each in image.libraries if each.family != MPIABI]
    return next(iter(fitting or others), None)


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
    if way and way.kind == "orte" and library.prefix not in _SHARED_PREFIXES:
        # A launcher that was moved passes its own on, and Open MPI 4 then hangs
        # where the image's is another.
        names = ("OPAL_PREFIX", "PMIX_INSTALL_PREFIX")
        found += tuple(f"{name}={library.prefix}" for name in names)
    return found


def _command(way: Way | None, library: Library | None, name: str, *options: str) -> str:
    words = [*options]
    if library:
        words += [f"--env {setting}" for setting in settings(library, way)]
    return " ".join(
        [_typed(way) if way else "LAUNCHER", "apptainer exec", *words, name, "PROGRAM"]
    )


def _typed(way: Way) -> str:
    return way.command if way.command.startswith("srun") else f"{way.command} -n N"


def _loads(library: Library, image: Facts) -> Finding | None:
    """Return why a library of the image cannot be loaded there at all."""
    if library.missing:
        return Finding(
            Verdict.INCOMPATIBLE,
            "parts of the library are missing",
            f"{library} cannot be loaded: the image has no "
            + ", ".join(library.missing),
            "install what is missing in the image, or build it anew",
        )
    modules = _modules(library, image)
    if image.modules and not modules:
        return Finding(
            Verdict.INCOMPATIBLE,
            "mpi4py of another family",
            f"the image's mpi4py was built for {_families(image.modules)} and its MPI "
            f"is {library}",
            "install mpi4py's wheel in the image, which has a module for either family",
        )
    wanted = SONAMES[library.family]
    # What the modules ask for by name has to be there by that name; a module of
    # the distribution asks for the distribution's.
    if modules and wanted not in (*library.names, library.soname):
        directory = library.path.rpartition("/")[0]
        return Finding(
            Verdict.INCOMPATIBLE,
            "the library has another name",
            f"mpi4py asks for {wanted}, and {library} is there as "
            f"{', '.join(library.names) or library.soname} only",
            f"in the image: ln -s {library.path} {directory}/{wanted}",
        )
    return _symbols(library, modules)


def _families(modules: Sequence[Module]) -> str:
    return " and ".join(sorted({module.family for module in modules}))


def _symbols(library: Library, modules: Sequence[Module]) -> Finding | None:
    for module in modules:
        open_ = sorted(module.imports - library.exports)
        if open_ and library.exports:
            shown = ", ".join(open_[:4]) + (" …" if len(open_) > 4 else "")  # noqa: PLR2004
            return Finding(
                Verdict.INCOMPATIBLE,
                "functions are missing",
                f"{library} lacks {len(open_)} functions that mpi4py needs: {shown}",
                "a newer MPI of the same family",
            )
    return None


# ----------------------------------------------------------------------- bind


def _bind(image: Facts, host: Facts, name: str) -> Iterator[Cell]:
    for library in host.libraries:
        finding = _binds(library, image)
        way, started = _best_way(library, host)
        if finding.verdict is not Verdict.INCOMPATIBLE:
            finding = min(finding, started, key=_merit_reversed)
        along = _strangers(library, image)
        before = f"APPTAINER_CONTAINLIBS={','.join(along)} " if along else ""
        yield Cell(
            "bind",
            str(way) if way else "",
            f"{library} ({library.path} of the host)",
            finding,
            before
            + _command(
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
    if not image.modules or _modules(library, image):
        return None
    return Finding(
        Verdict.INCOMPATIBLE,
        "mpi4py of another family",
        f"the image's mpi4py was built for {_families(image.modules)}, not for "
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
        else "the site's administrator can add a link by that name",
    )


def _newer_glibc(library: Library, image: Facts) -> Finding | None:
    if not image.glibc or library.glibc <= image.glibc:
        return None
    return Finding(
        Verdict.INCOMPATIBLE,
        "the image's C library is too old",
        f"{library} of the host needs glibc {_dotted(library.glibc)}, the image has "
        f"{_dotted(image.glibc)}",
        "an image on a distribution as new as the host's",
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
    return _symbols(library, _modules(library, image))


def _system_prefix(library: Library, image: Facts) -> Finding | None:
    del image
    if library.prefix not in _SHARED_PREFIXES:
        return None
    return Finding(
        Verdict.PARTIAL,
        "the host's MPI lies among the system's libraries",
        f"{library} of the host lies in {library.prefix}, which cannot be mounted "
        "into an image as a whole, and its plugins are not found otherwise",
        "the image's own MPI, or one of the host's with a prefix of its own",
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
        "mpi4py has what it needs; programs linked in the image may not",
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
        "the image's own MPI, or one of the host's with all in its prefix",
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
    # libz.so.1.2.13 of the host is libz.so.1 to who asks for it.
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


def _modules(library: Library, image: Facts) -> list[Module]:
    return [each for each in image.modules if each.family == library.family]


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))


def _best_way(library: Library, host: Facts) -> tuple[Way | None, Finding]:
    judged = [(way, judge(way, library)) for way in ways(host)]
    if not judged:
        return None, Finding(
            Verdict.PARTIAL,
            "no launcher was found",
            "nothing that starts MPI programs was found on the host",
        )
    return min(judged, key=lambda pair: _ORDER.index(pair[1].verdict))


def _merit_reversed(finding: Finding) -> int:
    return -_ORDER.index(finding.verdict)


# -------------------------------------------------------------------- together


def _without_fabric(cell: Cell, image: Facts, host: Facts) -> Cell:
    lacking = [
        fabric for fabric in FABRICS if fabric.name in host.fabrics - image.providers
    ]
    if not lacking or cell.finding.verdict is not Verdict.COMPATIBLE:
        return cell
    # An MPI of the host that comes by its prefix may bring libfabric along, or not.
    return Cell(
        cell.model,
        cell.way,
        cell.library,
        Finding(
            Verdict.PARTIAL,
            "the network's libraries are missing",
            f"{cell.finding.reason}; but the host has "
            f"{' and '.join(fabric.title for fabric in lacking)} and the image no "
            "libraries for it, so MPI falls back on TCP",
            "; ".join(fabric.way_out for fabric in lacking),
        ),
        cell.command,
    )


def _conclude(cells: tuple[Cell, ...], image: Facts, host: Facts, name: str) -> Report:
    if not cells:
        name_it = f"dask-runner check {name} --mpi /path/to/mpi"
        inside = f"apptainer exec {name} mpiexec -n N PROGRAM"
        return Report(
            Verdict.PARTIAL,
            "nothing that starts MPI programs was found on the host: no Slurm, no "
            "mpiexec, no MPI library",
            (
                f"name the prefix of the site's MPI: {name_it}",
                f"on one node the image's own mpiexec works: {inside}",
            ),
            cells,
            image,
            host,
        )
    best = min(cells, key=lambda cell: _ORDER.index(cell.finding.verdict))
    verdict = best.finding.verdict
    if verdict is Verdict.INCOMPATIBLE:
        telling = next(
            (cell for cell in cells if cell.finding.rule != "no wire-up"), best
        )
        ways_out = [telling.finding.do, "dask-runner recipe --like-host > site.def"]
        return Report(
            verdict,
            f"no launcher of the host can start the image's MPI: "
            f"{telling.finding.reason}",
            tuple(dict.fromkeys(filter(None, ways_out))),
            cells,
            image,
            host,
        )
    ways_out = [best.command]
    if verdict is Verdict.PARTIAL:
        ways_out.append(best.finding.do)
    return Report(
        verdict,
        best.finding.reason,
        tuple(filter(None, ways_out)),
        cells,
        image,
        host,
    )
