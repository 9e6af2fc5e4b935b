"""MPI's families: ranks of one job have to run one.

Rank 0 loads this as it starts, so it is apart from the other refusals.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError
from dask_runner.mpi.abi.vendors import titled

if TYPE_CHECKING:
    from collections.abc import Mapping


def of(title: str) -> str:
    """Return the family of an MPI that calls itself so; empty for an unknown one."""
    known = titled(title)
    return known[0].family if known else ""


def refuse_two(libraries: Mapping[int, str]) -> None:
    """Refuse ranks of one job that run MPIs of two families, and name them.

    Parameters
    ----------
    libraries : mapping of int to str
        By rank, as :func:`dask_runner.mpi.image.library` says it.

    Raises
    ------
    ConfigError
    """
    families: dict[str, list[int]] = {}
    for rank, title in sorted(libraries.items()):
        if of(title):
            families.setdefault(of(title), []).append(rank)
    if len(families) < 2:  # noqa: PLR2004
        return
    shown = {
        name: ", ".join(map(str, ranks[:4])) + (" …" if len(ranks) > 4 else "")  # noqa: PLR2004
        for name, ranks in families.items()
    }
    odd = min(families, key=lambda name: len(families[name]))
    version = Counter(libraries[rank] for rank in families[odd]).most_common(1)[0][0]
    raise ConfigError(
        "one job has MPIs of two families: "
        + "; ".join(f"{name} in rank {ranks}" for name, ranks in shown.items()),
        "one image for all ranks, and the same MPI bound into it on all nodes",
        f"look for what differs on these ranks' nodes: {version.splitlines()[0]}",
    )
