"""What an MPI library is, found from its file and the files beside it.

A version is a string of its own in the file, PMI kinds are what it is linked to
or words of the protocol. The library itself is not asked, because that would load it.
What is not found stays empty, and the rules then say so.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from dask_runner.mpi.abi.elf import NotELFError, numbers
from dask_runner.mpi.abi.facts import Library, prefix
from dask_runner.mpi.abi.vendors import MPIABI, OPENMPI, VENDORS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dask_runner.mpi.abi.elf import ELF
    from dask_runner.mpi.abi.root import Root
    from dask_runner.mpi.abi.vendors import Vendor

#: Names of files that may be MPI libraries: of distributions, vendors and Cray
#: (libmpi_gnu_123.so.12), C++ and Fortran bindings left out.
NAME = re.compile(
    r"libmpi(ch|_abi|_(cray|gnu|intel|nvidia|amd|aocc|gtl)(_\d+)?)?\.so(\.\d+)*$"
)

# The C library's own parts always come from the image.
_SYSTEM = re.compile(
    r"(ld-linux.*|lib(c|m|dl|rt|pthread|util|resolv|nsl|anl|mvec|gcc_s|stdc\+\+))"
    r"\.so(\.\d+)*$"
)

_EXPORT = re.compile(r"P?MPIX?_|ompi_|mpi_")


# libtool's current:revision:age, which MPICH keeps as text: 18:2:6 is 12.6.2.
_LIBTOOL = re.compile(rb"\0(\d{1,9}):(\d{1,9}):(\d{1,9})\0")

# A word of PMI-1's first line to the launcher. (MPICH has words of PMI-2 as well,
# also where a build cannot speak it.) Then Open MPI 4's components.
_PMI1 = b"pmi_version"
_OPENMPI4 = {"s1": "pmi1", "s2": "pmi2"}
_OPENMPI4_PMIX = re.compile(r"mca_pmix_(pmix\d+x|ext\d+x)")

_PMIX_VERSIONS = (
    rb"OpenPMIx (\d+\.\d+\.\d+\w*)",
    rb"PM[Ii]X [\w ]+ MCA component version (\d+\.\d+\.\d+\w*)",
    rb"\0v?([1-9]\.\d+\.\d+\w*)\0",
)


def describe(root: Root, path: str, names: tuple[str, ...]) -> Library | None:
    """Return what a file is, or None where it is no MPI library that is known.

    Parameters
    ----------
    root : Root
    path : str
        Inside, without links.
    names : tuple of str
        The names by which its directory offers it.
    """
    try:
        elf, offered = root.elf(path), root.symbols(path).exports
    except NotELFError as error:
        root.note(str(error))
        return None
    if "MPI_Init" not in offered:
        return None
    data = root.data(path)
    vendor = next((each for each in VENDORS if re.search(each.mark, data)), None)
    if vendor is None:
        return None
    linked, missing = closure(root, path)
    family = MPIABI if "libmpi_abi" in elf.soname else vendor.family
    pmi = _pmi_kinds(root, vendor, data, linked)
    own = prefix(path)
    return Library(
        path,
        family,
        vendor.name,
        _version(vendor, data) or _version_of_file(vendor, path),
        elf.soname,
        names,
        _abi(data) or numbers(path.rpartition(".so.")[2]),
        frozenset(pmi),
        pmix_version(root, linked) if "pmix" in pmi else "",
        max([elf.glibc, *(each.glibc for each in linked.values())]),
        frozenset(filter(_EXPORT.match, offered)),
        tuple(missing),
        tuple(
            each
            for each in linked
            if own in {"/usr", "/"} or not each.startswith(own + "/")
        ),
    )


def closure(root: Root, path: str) -> tuple[dict[str, ELF], list[str]]:
    """Return what a file is linked to, all the way down, and what is not there.

    The C library's own parts are left out: they come from where the process runs.
    """
    found: dict[str, ELF] = {}
    missing: list[str] = []
    todo = [path]
    while todo:
        user = todo.pop(0)
        try:
            elf = root.elf(user)
        except NotELFError as error:
            root.note(str(error))
            continue
        if user != path:
            found[user] = elf
        for name in elf.needed:
            if _SYSTEM.match(name):
                continue
            place = root.library(name, user, elf.runpath)
            if place is None:
                if name not in missing:
                    missing.append(name)
            elif place not in found and place not in todo:
                todo.append(place)
    return found, missing


def pmix_version(root: Root, paths: dict[str, ELF] | list[str]) -> str:
    """Return the PMIx version of the first of these files that tells one."""
    ordered = sorted(paths, key=lambda path: "libpmix" not in path)
    for path in ordered:
        if re.search(r"lib(pmix|open-pal)\b", path):
            data = root.data(path)
            patterns = _PMIX_VERSIONS if "libpmix" in path else _PMIX_VERSIONS[:2]
            for pattern in patterns:
                told: list[bytes] = re.findall(pattern, data)
                if told:
                    return told[0].decode()
    return ""


def _version(vendor: Vendor, data: bytes) -> str:
    for pattern in vendor.versions:
        counted: Counter[str] = Counter(
            match.decode() for match in re.findall(pattern, data)
        )
        if counted:
            return counted.most_common(1)[0][0]
    return ""


# Open MPI's VERSION file: the library's age is ten times the series since 3.0, and
# its revision is the release (libmpi.so.40.30.8 is 4.1.8, .40.40.7 is 5.0.7).
_OPENMPI_SERIES = {0: "3.0", 10: "3.1", 20: "4.0", 30: "4.1", 40: "5.0"}


def _version_of_file(vendor: Vendor, path: str) -> str:
    major, age, revision = (*numbers(path.rpartition(".so.")[2]), -1, -1, -1)[:3]
    series = _OPENMPI_SERIES.get(age)
    if vendor.family != OPENMPI or major != 40 or series is None:  # noqa: PLR2004
        return ""
    return f"{series}.{revision}"


def _abi(data: bytes) -> tuple[int, ...]:
    match = _LIBTOOL.search(data)
    if match is None:
        return ()
    current, revision, age = map(int, match.groups())
    return (current - age, age, revision)


def _pmi_kinds(
    root: Root, vendor: Vendor, data: bytes, linked: dict[str, ELF]
) -> set[str]:
    found = set(_linked_pmi(linked))
    if vendor.family == OPENMPI:
        # Version 5 has PMIx alone; version 4 has a component for each.
        components = set(_components(root, linked))
        found |= {
            kind for name, kind in _OPENMPI4.items() if f"mca_pmix_{name}" in components
        }
        if any(map(_OPENMPI4_PMIX.match, components)):
            found.add("pmix")
    elif _PMI1 in data:
        found.add("pmi1")
    return found


def _linked_pmi(linked: dict[str, ELF]) -> Iterator[str]:
    for path in linked:
        name = path.rpartition("/")[2]
        for library, kind in (
            ("libpmix.so", "pmix"),
            ("libpmi2.so", "pmi2"),
            ("libpmi.so", "pmi1"),
        ):
            if name.startswith(library):
                yield kind


def _components(root: Root, linked: dict[str, ELF]) -> Iterator[str]:
    for path in linked:
        directory, _, name = path.rpartition("/")
        if not name.startswith("libopen-pal"):
            continue
        for symbol in _exports(root, path):
            if symbol.startswith("mca_pmix_") and symbol.endswith("_component"):
                yield symbol.removesuffix("_component")
        for below in ("openmpi", "openmpi/lib/openmpi*", "openmpi*"):
            for plugin in root.glob(f"{directory}/{below}/mca_pmix_*.so"):
                yield plugin.rpartition("/")[2].removesuffix(".so")


def _exports(root: Root, path: str) -> frozenset[str]:
    try:
        return root.symbols(path).exports
    except NotELFError as error:
        root.note(str(error))
        return frozenset()
