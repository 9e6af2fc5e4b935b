"""Which mpiexecs a root directory has, known by words in their files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from dask_runner.mpi.abi.facts import Mpiexec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dask_runner.mpi.abi.facts import Library
    from dask_runner.mpi.abi.root import Root

_NAMES = (
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


def find(
    root: Root, directories: Sequence[str], libraries: Sequence[Library]
) -> Iterable[Mpiexec]:
    """Return the launchers in these directories, each once.

    Parameters
    ----------
    root : Root
    directories : sequence of str
        Inside; the first counts where a launcher is in several.
    libraries : sequence of Library
        Those that were found: a launcher that does not say its version has that of
        the MPI beside it.
    """
    seen = set()
    # A wheel's mpiexec is a small program that becomes the one beside it.
    wrappers: dict[str, str] = {}
    for directory in directories:
        for name in _NAMES:
            real = root.real(f"{directory}/{name}")
            if real is None or not root.is_elf(real):
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
                yield Mpiexec(
                    wrappers.get(own, f"{directory}/{name}"),
                    kind,
                    told[1].decode() if told else _sibling(own, libraries),
                )


def _sibling(directory: str, libraries: Sequence[Library]) -> str:
    """Return the version of the MPI in whose prefix a launcher lies."""
    prefix = directory.rpartition("/")[0] or "/"
    return next((each.version for each in libraries if each.prefix == prefix), "")
