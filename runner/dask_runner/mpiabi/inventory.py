"""From a root directory to its facts."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from dask_runner.mpiabi import fabrics
from dask_runner.mpiabi.elf import NotELFError, is_elf, numbers, read, symbols
from dask_runner.mpiabi.facts import (
    MPICH,
    OPENMPI,
    SONAMES,
    Facts,
    Launcher,
    Library,
    Module,
    Slurm,
)
from dask_runner.mpiabi.libraries import NAME, closure, describe, pmix_version

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dask_runner.mpiabi.root import Root

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

_LAUNCHERS = (
    "mpiexec",
    "mpirun",
    "mpiexec.hydra",
    "mpiexec.openmpi",
    "mpirun.openmpi",
    "mpiexec.mpich",
    "prterun",
    "orterun",
)

# Words in a launcher's file, the first that is found; its version stands alone.
_KINDS = (
    ("intel", rb"I_MPI_HYDRA|Intel\(R\) MPI", rb"\0(20\d\d\.\d+(?:\.\d+)?)\0"),
    ("hydra", rb"HYDRA build details", rb"\0v?([1-9]\.\d+(?:\.\d+)*\w*)\0"),
    ("prte", rb"prterun|libprrte", rb"\0v?([5-9]\.\d+\.\d+\w*)\0"),
    ("orte", rb"orterun|libopen-rte", rb"\0v?([1-4]\.\d+\.\d+\w*)\0"),
)

_SLURM_PLUGINS = (
    "/usr/lib/*-linux-gnu*/slurm*",
    "/usr/lib64/slurm*",
    "/usr/lib/slurm*",
    "/usr/local/lib/slurm*",
    "/opt/slurm*/lib*/slurm*",
    "/opt/slurm/*/lib*/slurm*",
)
_SLURM_CONF = (
    "/etc/slurm/slurm.conf",
    "/etc/slurm-llnl/slurm.conf",
    "/var/spool/slurmd/conf-cache/slurm.conf",
    "/run/slurm/conf/slurm.conf",
    "/opt/slurm/etc/slurm.conf",
)

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
        name or str(root.top),
        _system(root),
        _arch(root, libc),
        _glibc(root, libc),
        tuple(libraries),
        tuple(_modules(root, environments)),
        tuple(_launchers(root, programs, libraries)),
        _slurm(root),
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
    match = re.search(r'^PRETTY_NAME="?([^"\n]*)', text, re.MULTILINE)
    return match[1] if match else ""


def _arch(root: Root, libc: str | None) -> str:
    for path in (libc, "/bin/sh", "/usr/bin/env"):
        file = path and root.file(path)
        if file and is_elf(file):
            try:
                return read(file).arch
            except NotELFError as error:
                root.unread.append(str(error))
    return ""


def _glibc(root: Root, libc: str | None) -> tuple[int, ...]:
    data = root.data(libc) if libc else b""
    match = re.search(rb"GNU C Library [^\n]* version (\d+\.\d+)", data)
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
                if real and is_elf(root.outside(real)):
                    names.setdefault(real, []).append(name)
        # The names for which mpi4py asks come first, in its order.
        for real in sorted(names, key=lambda real: _asked_for(names[real])):
            if real not in seen:
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
                elf = read(root.outside(path))
                wanted = symbols(root.outside(path)).imports
            except NotELFError as error:
                root.unread.append(str(error))
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


def _launchers(
    root: Root, directories: Sequence[str], libraries: Sequence[Library]
) -> Iterable[Launcher]:
    seen = set()
    # A wheel's mpiexec is a small program that becomes the one beside it.
    wrappers: dict[str, str] = {}
    for directory in directories:
        for name in _LAUNCHERS:
            real = root.real(f"{directory}/{name}")
            if real is None or not is_elf(root.outside(real)):
                continue
            data = root.data(real)
            kinds = (each for each in _KINDS if re.search(each[1], data))
            kind, _, version = next(kinds, ("", b"", b""))
            # One of its names is enough.
            own = real.rpartition("/")[0]
            if not kind:
                wrappers.setdefault(own, f"{directory}/{name}")
            if kind and (kind, own) not in seen:
                seen.add((kind, own))
                told = re.search(version, data)
                yield Launcher(
                    wrappers.get(own, f"{directory}/{name}"),
                    kind,
                    told[1].decode() if told else _sibling(own, libraries),
                )


def _sibling(directory: str, libraries: Sequence[Library]) -> str:
    """Return the version of the MPI in whose prefix a launcher lies."""
    prefix = directory.rpartition("/")[0] or "/"
    return next((each.version for each in libraries if each.prefix == prefix), "")


def _slurm(root: Root) -> Slurm | None:
    conf = next(filter(None, map(root.text, _SLURM_CONF)), "")
    named = _setting(conf, "PluginDir").split(":") if conf else []
    for directory in root.directories([*filter(None, named), *_SLURM_PLUGINS]):
        files = root.glob(f"{directory}/mpi_*.so")
        if files:
            plugins = tuple(
                path.rpartition("/mpi_")[2].removesuffix(".so") for path in files
            )
            return Slurm(
                directory,
                plugins,
                _setting(conf, "MpiDefault"),
                _served_pmix(root, directory),
            )
    return None


def _setting(conf: str, name: str) -> str:
    match = re.search(rf"^\s*{name}\s*=\s*(\S+)", conf, re.MULTILINE | re.IGNORECASE)
    return match[1] if match else ""


def _served_pmix(root: Root, directory: str) -> str:
    """Return the version of the PMIx that Slurm's plugin brings along."""
    for path in root.glob(f"{directory}/mpi_pmix.so"):
        real = root.real(path) or path
        linked, _ = closure(root, real)
        version = pmix_version(root, linked)
        if version:
            return version
        # The plugin loads it by a name that was built in.
        for match in re.findall(rb"[\w/.+-]*libpmix\.so[\d.]*", root.data(real)):
            name = match.decode()
            place = root.real(name) if "/" in name else root.library(name)
            place = place or root.library("libpmix.so.2")
            if place and (version := pmix_version(root, [place])):
                return version
    # The name alone tells at least the major version: mpi_pmix_v5.so.
    majors = [
        path.rpartition("_v")[2].removesuffix(".so")
        for path in root.glob(f"{directory}/mpi_pmix_v*.so")
    ]
    return max(majors, default="")


def _fabric_directories(libraries: Sequence[Library], loader: list[str]) -> list[str]:
    own = [
        f"{library.path.rpartition('/')[0]}{below}"
        for library in libraries
        for below in ("", "/openmpi", "/mpich")
    ]
    return _once([*own, *loader])
