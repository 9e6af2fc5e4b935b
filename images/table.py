"""The table of published images, ``images.toml``, as values."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from dask_runner.errors import UsageError

TABLE = Path(__file__).with_name("images.toml")
REPOSITORY = "dask-runner"


@dataclass(frozen=True, slots=True)
class Row:
    """One image of the table.

    Attributes
    ----------
    name : str
        What ``make image MPI=`` takes, and the image's tag.
    mpi : str
        The MPI family; names the install script.
    version : str
        MPI's version; empty for the distribution's.
    default : bool
        Whether ``dask-runner.sif`` is this one.
    """

    name: str
    mpi: str
    version: str = ""
    default: bool = False

    @property
    def tag(self) -> str:
        """The Docker image's name."""
        return f"{REPOSITORY}:{self.name}"

    @property
    def sif(self) -> str:
        """The SIF's file name."""
        return f"{REPOSITORY}-{self.name}.sif"


def rows() -> dict[str, Row]:
    """Return the table's rows by name."""
    table = tomllib.loads(TABLE.read_text())
    return {name: Row(name, **columns) for name, columns in table.items()}


def row(name: str) -> Row:
    """Return one row.

    Raises
    ------
    UsageError
        There is none of that name.
    """
    table = rows()
    if name not in table:
        raise UsageError(
            f"no image {name!r} in images/images.toml",
            f"one of: {', '.join(table)}",
            f"make image MPI={next(iter(table))}",
        )
    return table[name]
