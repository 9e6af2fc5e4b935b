"""The facts on which a verdict rests, plain values without files behind them."""

from __future__ import annotations

import re
from dataclasses import dataclass

# lib, lib64, lib/x86_64-linux-gnu, lib/release
_LIB = re.compile(r"(.*)/lib(64)?(/[^/]+)?$")


def prefix(path: str) -> str:
    """Return the directory above the lib directory of a library's path."""
    directory = path.rpartition("/")[0]
    match = _LIB.match(directory)
    return (match[1] if match else directory) or "/"


@dataclass(frozen=True, slots=True)
class Library:
    """One MPI library.

    Attributes
    ----------
    path : str
        Where it lies inside its root, without links.
    family : str
        :data:`OPENMPI`, :data:`MPICH` or :data:`MPIABI`.
    vendor : str
        Open MPI, MPICH, Intel MPI, Cray MPICH or MVAPICH.
    version : str
        The vendor's; empty where it could not be read.
    soname : str
        Its own name.
    names : tuple of str
        The names by which its directory offers it.
    abi : tuple of int
        The interface's version: 12.6.2 for MPICH, 40.40.7 for Open MPI.
    pmi : frozenset of str
        The wire protocols by which it can find its launcher: pmi1, pmi2, pmix.
    pmix : str
        The version of the PMIx client that it uses.
    glibc : tuple of int
        The C library that it and what it is linked to need.
    exports : frozenset of str
        Its MPI functions and data.
    missing : tuple of str
        Libraries that it is linked to and that its root does not have.
    needs : tuple of str
        Libraries outside its own prefix that it is linked to, all the way down,
        the C library's own left out.
    """

    path: str
    family: str
    vendor: str
    version: str = ""
    soname: str = ""
    names: tuple[str, ...] = ()
    abi: tuple[int, ...] = ()
    pmi: frozenset[str] = frozenset()
    pmix: str = ""
    glibc: tuple[int, ...] = ()
    exports: frozenset[str] = frozenset()
    missing: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.vendor} {self.version}".strip()

    @property
    def prefix(self) -> str:
        """The directory above its lib directory."""
        return prefix(self.path)


@dataclass(frozen=True, slots=True)
class Module:
    """One extension module of mpi4py, which is linked to one family."""

    path: str
    family: str
    imports: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Mpiexec:
    """One mpiexec.

    Attributes
    ----------
    path : str
    kind : str
        prte (Open MPI 5), orte (Open MPI 4), hydra or intel.
    version : str
        Of the MPI it belongs to; empty where it could not be read.
    """

    path: str
    kind: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class Slurm:
    """What Slurm offers to MPI.

    Attributes
    ----------
    directory : str
        Where its plugins are.
    plugins : tuple of str
        As ``srun --mpi=list`` shows them: pmi2, pmix, pmix_v5.
    default : str
        ``MpiDefault`` of slurm.conf; empty where that file cannot be read.
    pmix : str
        The version of the PMIx library that the plugin loads.
    """

    directory: str
    plugins: tuple[str, ...] = ()
    default: str = ""
    pmix: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What decides whether MPI programs of one root run on another.

    Attributes
    ----------
    root : str
        As the user named it.
    system : str
        The distribution's own name.
    arch : str
    glibc : tuple of int
    libraries : tuple of Library
        The one that a program gets by itself comes first.
    modules : tuple of Module
        mpi4py's.
    launchers : tuple of Mpiexec
    slurm : Slurm or None
    fabrics : frozenset of str
        Names of the rows of :data:`dask_runner.mpi.abi.fabrics.FABRICS` for which
        there are devices.
    providers : frozenset of str
        Names of these rows for which there are libraries.
    loadable : frozenset of str
        Names that the loader finds by itself.
    cray : bool
        Whether this is a Cray's operating system.
    notes : tuple of str
        What could not be read.
    """

    root: str
    system: str = ""
    arch: str = ""
    glibc: tuple[int, ...] = ()
    libraries: tuple[Library, ...] = ()
    modules: tuple[Module, ...] = ()
    launchers: tuple[Mpiexec, ...] = ()
    slurm: Slurm | None = None
    fabrics: frozenset[str] = frozenset()
    providers: frozenset[str] = frozenset()
    loadable: frozenset[str] = frozenset()
    cray: bool = False
    notes: tuple[str, ...] = ()
