"""The vendors of MPI libraries: by what each is known, and what it speaks.

Every leader and rank 0 load this as they start, so it needs no other module of ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: MPI's three binary interfaces, by the names that mpi4py uses.
OPENMPI, MPICH, MPIABI = "openmpi", "mpich", "mpiabi"

#: The name under which programs of a family ask for their MPI library.
SONAMES = {OPENMPI: "libmpi.so.40", MPICH: "libmpi.so.12", MPIABI: "libmpi_abi.so.1"}


@dataclass(frozen=True, slots=True)
class Vendor:
    """One vendor.

    Attributes
    ----------
    family : str
    name : str
    mark : bytes
        A pattern that its library's file has.
    versions : tuple of bytes
        Patterns of the version in that file, the most certain first.
    title : str
        A pattern with which the text of ``MPI_Get_library_version`` begins, its
        group the version.
    pmi : frozenset of str
        What its library usually speaks with a launcher, for a library that
        cannot be looked into.
    """

    family: str
    name: str
    mark: bytes
    versions: tuple[bytes, ...]
    title: str
    pmi: frozenset[str]


#: The first that matches counts: vendors derive from MPICH and keep its words. A
#: version is a string of its own in the file (NUL on both sides) unless words around
#: it say what it is.
VENDORS = (
    Vendor(
        OPENMPI,
        "Open MPI",
        rb"ompi_mpi_comm_world",
        (
            rb"MCA component version (\d+\.\d+\.\d+\w*)[\0,]",
            rb"\0v?([2-9]\.\d+\.\d+\w*)\0",
        ),
        r"Open MPI(?: v([\w.]+))?",
        frozenset({"pmix"}),
    ),
    Vendor(
        MPICH,
        "Intel MPI",
        rb"Intel\(R\) MPI Library",
        (rb"\0(20\d\d\.\d+(?:\.\d+)?)\0",),
        r"Intel(?:\(R\))? MPI(?: Library)?(?: v?([\w.]+))?",
        frozenset({"pmi1"}),
    ),
    Vendor(
        MPICH,
        "Cray MPICH",
        rb"CRAY MPICH",
        (rb"CRAY MPICH version (\d+\.\d+\.\d+)", rb"\0(8\.\d+\.\d+(?:\.\d+)?)\0"),
        r"(?:MPI VERSION\s*:\s*)?(?:CRAY|Cray) MPICH(?: (?:version |v)([\w.]+))?",
        frozenset({"pmi2"}),
    ),
    Vendor(
        MPICH,
        "MVAPICH",
        rb"MVAPICH2? Version",
        (rb"\0([2-9]\.\d+(?:\.\d+)?\w*)\0",),
        r"MVAPICH2?(?: Version\s*:\s*| v)?([\w.]+)?",
        frozenset({"pmi1"}),
    ),
    Vendor(
        MPICH,
        "MPICH",
        rb"MPICH Version:",
        (
            rb"\0([3-9]\.\d+\.\d+\w*)\0",
            # The first of a series has two numbers, and so have other versions inside.
            rb"\0([3-9]\.\d+(?:[a-z]+\d+)?)\0",
        ),
        r"MPICH(?: Version:\s*([\w.]+))?",
        frozenset({"pmi1"}),
    ),
)


def titled(title: str) -> tuple[Vendor, str] | None:
    """Return whose a library is that calls itself so, and its version, if it says one.

    Parameters
    ----------
    title : str
        ``MPI.Get_library_version()``, or what :func:`dask_runner.mpi.image.library`
        says of one that is not loaded.
    """
    for vendor in VENDORS:
        match = re.match(vendor.title, title)
        if match:
            return vendor, match[1] or ""
    return None
