"""What ``check`` says of a way to run MPI programs: verdict, reason, way out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from dask_runner.mpi.abi.facts import Library


class Verdict(StrEnum):
    """What can be said of a pair; the best comes first."""

    COMPATIBLE = "compatible"
    PARTIAL = "partial"
    INCOMPATIBLE = "incompatible"

    @property
    def merit(self) -> int:
        """Its place from the best, for comparisons."""
        return list(Verdict).index(self)


@dataclass(frozen=True, slots=True)
class Way:
    """One way in which a host starts the ranks of an MPI program.

    Attributes
    ----------
    command : str
        What the user types before the program.
    kind : str
        srun-none, srun-pmi2, srun-pmix, srun-cray, prte, orte, hydra or intel.
    version : str
        Of the launcher; of the PMIx server for srun-pmix. Empty: not known.
    """

    command: str
    kind: str
    version: str = ""

    def __str__(self) -> str:
        if self.kind == "srun-pmix":
            return f"{self.command} (PMIx {self.version or 'of unknown version'})"
        return f"{self.command} ({self.version})" if self.version else self.command


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule says: verdict, why in a sentence, and the way out."""

    verdict: Verdict
    rule: str
    reason: str
    do: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """One row. ``{way}`` and ``{library}`` stand for what they describe."""

    name: str
    applies: Callable[[Way, Library], bool]
    verdict: Verdict
    reason: str
    do: str = ""


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
