"""From a root directory to its facts."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from dask_runner.mpi.abi import fabrics, mpiexec, slurm
from dask_runner.mpi.abi.elf import NotELFError, numbers
from dask_runner.mpi.abi.facts import Facts, Library, Module
from dask_runner.mpi.abi.libraries import NAME, describe
from dask_runner.mpi.abi.vendors import MPICH, OPENMPI, SONAMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dask_runner.mpi.abi.root import Root

# Prefixes of MPI that no loader configuration names: distributions' own, of
# modules, vendors and site builds.
_PREFIXES = (
    "/opt/mpi",
    "/usr/lib/*-linux-gnu*/openmpi",
    "/usr/lib/*-linux-gnu*/mpich",
    "/usr/lib64/openmpi*",
    "/usr/lib64/mpich*",
    "/usr/lib64/mvapich*",
    "/usr/lib64/mpi/gcc/*",
    "/usr/mpi/gcc/*",
    "/usr/local",
    "/usr/local/*mpi*",
    "/opt/*mpi*",
    "/opt/*mpi*/*",
    "/opt/mvapich*",
    "/opt/amazon/openmpi*",
    "/opt/ohpc/pub/mpi/*",
    "/opt/ohpc/pub/mpi/*/*",
    "/opt/intel/oneapi/mpi/*",
    "/opt/intel/compilers_and_libraries*/linux/mpi/intel64",
    "/opt/cray/pe/mpich/*/ofi/*/*",
    "/opt/cray/pe/lib64",
)
_BELOW = ("lib", "lib64", "lib/release", "lib-abi-mpich", ".")

# Where an application's Python is: mpi4py looks into its lib first, and its own
# modules lie below it (mpi4py/_mpiabi.py).
_ENVIRONMENTS = ("/opt/dask-runner", "/opt/*", "/venv", "/opt/venv", "/usr/local")

# Files of MPI libraries, in all prefixes together: ten versions of five MPIs, each with
# its builds for debugging, have a hundred.
_MOST_LIBRARIES = 200

_CRAY = ("/etc/opt/cray/release", "/opt/cray/pe")


def take(root: Root, prefixes: Sequence[str] = (), name: str = "") -> Facts:
    """Read the facts of a root directory.

    Parameters
    ----------
    root : Root
    prefixes : sequence of str, optional
        Prefixes of MPI inside that are looked at first: what a site's modules
        would put on the path.
    name : str, optional
        What to call the root; default its directory.
    """
    own = [f"{path}/{below}" for path in prefixes for below in _BELOW]
    environments = _environments(root)
    first = root.directories([*own, *(f"{path}/lib" for path in environments)])
    others = [f"{path}/{below}" for path in _PREFIXES for below in _BELOW]
    directories = _once([*first, *root.loader_path, *root.directories(others)])
    libraries = _libraries(root, directories)
    programs = _once(
        [
            *(f"{path}/bin" for path in prefixes),
            "/usr/bin",
            "/usr/local/bin",
            *(f"{library.prefix}/bin" for library in libraries),
            *(f"{path}/bin" for path in environments),
            *root.directories([f"{path}/bin" for path in _PREFIXES]),
        ]
    )
    libc = root.library("libc.so.6")
    return Facts(
        name or str(root),
        _system(root),
        _arch(root, libc),
        _glibc(root, libc),
        tuple(libraries),
        tuple(_modules(root, environments)),
        tuple(mpiexec.find(root, programs, libraries)),
        slurm.find(root),
        fabrics.devices(root),
        fabrics.providers(root, _fabric_directories(libraries, root.loader_path)),
        frozenset(name for path in root.loader_path for name in root.names(path)),
        any(map(root.real, _CRAY)),
        tuple(root.unread),
    )


def _once(paths: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(paths))


def _system(root: Root) -> str:
    text = root.text("/etc/os-release") or root.text("/usr/lib/os-release")
    match = re.search(r'^PRETTY_NAME="?([^"\n]{0,100})', text, re.MULTILINE)
    return match[1] if match else ""


def _arch(root: Root, libc: str | None) -> str:
    for path in (libc, "/bin/sh", "/usr/bin/env"):
        if path and root.is_elf(path):
            try:
                return root.elf(path).arch
            except NotELFError as error:
                root.note(str(error))
    return ""


def _glibc(root: Root, libc: str | None) -> tuple[int, ...]:
    data = root.data(libc) if libc else b""
    match = re.search(rb"GNU C Library [^\n]{0,100} version (\d+\.\d+)", data)
    return numbers(match[1].decode()) if match else ()


def _environments(root: Root) -> list[str]:
    return [
        prefix
        for prefix in root.directories(_ENVIRONMENTS)
        if root.real(f"{prefix}/pyvenv.cfg") or root.glob(f"{prefix}/bin/python3*")
    ]


def _libraries(root: Root, directories: Sequence[str]) -> list[Library]:
    found: dict[tuple[str, ...], Library] = {}
    seen: set[str] = set()
    for directory in directories:
        names: dict[str, list[str]] = {}
        for name in root.names(directory):
            if NAME.match(name):
                real = root.real(f"{directory}/{name}")
                # In a developer's installation libmpi.so may be a linker script.
                if real and root.is_elf(real):
                    names.setdefault(real, []).append(name)
        # The names for which mpi4py asks come first, in its order.
        for real in sorted(names, key=lambda real: _asked_for(names[real])):
            if real not in seen:
                if len(seen) == _MOST_LIBRARIES:
                    root.note(f"more than {_MOST_LIBRARIES} MPI libraries")
                    return list(found.values())
                seen.add(real)
                library = describe(root, real, tuple(names[real]))
                if library:
                    # Builds for debugging lie beside the one that is used.
                    each = (library.prefix, library.family, str(library))
                    found[each] = _merged(found.get(each), library)
    return list(found.values())


def _merged(first: Library | None, library: Library) -> Library:
    """Return one of two copies, with the names of both if they are neighbours."""
    if first is None:
        return library
    if first.path.rpartition("/")[0] != library.path.rpartition("/")[0]:
        return first
    names = (*first.names, *library.names)
    wanted = SONAMES[first.family]
    return replace(library if wanted in library.names else first, names=names)


def _asked_for(names: Sequence[str]) -> int:
    order = ("libmpi.so", SONAMES[MPICH], SONAMES[OPENMPI])
    return min((order.index(name) for name in names if name in order), default=9)


def _modules(root: Root, environments: Sequence[str]) -> Iterable[Module]:
    family_of = {soname: family for family, soname in SONAMES.items()}
    for prefix in _once([*environments, "/usr/lib/python3", "/usr"]):
        places = (
            f"{prefix}/lib*/python3*/site-packages/mpi4py/MPI*.so",
            f"{prefix}/lib*/python3*/dist-packages/mpi4py/MPI*.so",
            f"{prefix}/dist-packages/mpi4py/MPI*.so",
        )
        found = _once(
            root.real(path) or path for place in places for path in root.glob(place)
        )
        for path in found:
            try:
                elf = root.elf(path)
                wanted = root.symbols(path).imports
            except NotELFError as error:
                root.note(str(error))
                continue
            for name in elf.needed:
                # Debian's own is linked to libmpich.so.12.
                family = family_of.get(name, MPICH if "libmpich" in name else "")
                if family:
                    yield Module(path, family, frozenset(_mpi_names(wanted)))
        if found:
            return


def _mpi_names(names: Iterable[str]) -> Iterable[str]:
    return (name for name in names if name.startswith(("MPI_", "PMPI_", "ompi_")))


def _fabric_directories(libraries: Sequence[Library], loader: list[str]) -> list[str]:
    own = [
        f"{library.path.rpartition('/')[0]}{below}"
        for library in libraries
        for below in ("", "/openmpi", "/mpich")
    ]
    return _once([*own, *loader])
