"""``dask-runner check``: whether an image's MPI fits a host, and what to do."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask_runner.errors import ConfigError, UsageError
from dask_runner.mpi.abi import inventory
from dask_runner.mpi.abi.facts import prefix
from dask_runner.mpi.abi.findings import Verdict
from dask_runner.mpi.abi.root import Root
from dask_runner.mpi.abi.unpack import opened
from dask_runner.mpi.abi.verdict import compare
from dask_runner.printable import printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dask_runner.mpi.abi.facts import Facts
    from dask_runner.mpi.abi.verdict import Report

#: Raised when a key changes its meaning, not when one is added.
VERSION = 1

#: Where users bind the host's root directory into an image.
HOST = "/host"

_IMAGE = "/"

# Of a line about an image or a host.
_MOST_CHARACTERS = 1000

# Variables in which modules and vendors put the prefix of an MPI. A container that is
# started from such a shell inherits them.
_PREFIX_VARIABLES = (
    "CRAY_MPICH_DIR",
    "I_MPI_ROOT",
    "MPI_HOME",
    "MPI_ROOT",
    "EBROOTOPENMPI",
    "EBROOTMPICH",
    "EBROOTIMPI",
)


def check(
    image: str | None,
    host: str | None,
    prefixes: Sequence[str],
    environ: Mapping[str, str],
) -> Report:
    """Compare an image with a host.

    Parameters
    ----------
    image : str or None
        An image that :func:`~dask_runner.mpi.abi.unpack.opened` can read; None for the
        image in which this runs.
    host : str or None
        The host's root directory; None for ``/host`` inside an image, and for
        the machine itself where an image is named.
    prefixes : sequence of str
        Prefixes of the host's MPI, where it is in an unusual place.
    environ : mapping

    Raises
    ------
    UsageError, ConfigError
    """
    if host is None:
        host = _default_host(image)
    if not Path(host).is_dir():
        raise UsageError(
            f"--host {host}: no such directory",
            "a root directory",
            "leave --host out for this machine, or bind the host into the image: "
            "apptainer run --bind /:/host IMAGE check",
        )
    if image is None and Path(host).samefile(_IMAGE):
        raise UsageError(
            "the image and the host are the same",
            "an image to compare this host with, or a host to compare this image with",
            "dask-runner check IMAGE; or from inside an image, with the host bound: "
            "apptainer run --bind /:/host IMAGE check",
        )
    named = [environ[name] for name in _PREFIX_VARIABLES if environ.get(name)]
    place = Root(Path(host))
    missing = [prefix for prefix in prefixes if place.real(prefix) is None]
    if missing:
        raise UsageError(
            f"--mpi {missing[0]}: no such directory on the host ({host})",
            "the directory above the MPI's lib directory",
            "look for it with: module show MODULE",
        )
    facts = inventory.take(place, [*prefixes, *named], host)
    if not facts.arch:
        raise ConfigError(
            f"{host} does not look like a system's root directory: no C library",
            "the host's / bound there",
            "apptainer run --bind /:/host IMAGE check --host /host",
        )
    # mpi4py loads the library that the user names, so that one is compared.
    library = "" if image else environ.get("MPI4PY_LIBMPI", "")
    with opened(image or _IMAGE) as root:
        own = [prefix(library)] if library else []
        inside = inventory.take(root, own, image or "this image")
    if not inside.arch:
        raise ConfigError(
            f"{inside.root} does not look like an image: no C library inside",
            "an image or its unpacked root directory",
            "check it from inside: apptainer run --bind /:/host IMAGE check",
        )
    return compare(inside, facts, image or environ.get("APPTAINER_CONTAINER", "IMAGE"))


def _default_host(image: str | None) -> str:
    if image is None and not Path(HOST).is_dir():
        raise UsageError(
            "no IMAGE, and no host at /host",
            "an image to compare this host with, or a host to compare this image with",
            "dask-runner check IMAGE; or from inside an image: "
            "apptainer run --bind /:/host IMAGE check",
        )
    return HOST if image is None else "/"


def status(report: Report) -> int:
    """Return the exit status: ConfigError's where nothing fits, else 0."""
    return ConfigError.status if report.verdict is Verdict.INCOMPATIBLE else 0


def as_json(report: Report) -> dict[str, Any]:
    """Return the report for programs."""
    return {
        "version": VERSION,
        "verdict": report.verdict.value,
        "reason": report.reason,
        "do": list(report.do),
        "trap": report.trap,
        "ways": [
            {
                "model": cell.model,
                "way": cell.way,
                "library": cell.library,
                "verdict": cell.finding.verdict.value,
                "rule": cell.finding.rule,
                "reason": cell.finding.reason,
                "do": cell.finding.do,
                "command": cell.command
                if cell.finding.verdict is not Verdict.INCOMPATIBLE
                else "",
            }
            for cell in report.cells
        ],
        "image": plain(report.image),
        "host": plain(report.host),
    }


def plain(value: Any) -> Any:
    """Return facts as JSON values: versions as text, and the number of symbols."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: len(getattr(value, field.name))
            if field.name in {"exports", "imports", "loadable"}
            else plain(getattr(value, field.name))
            for field in dataclasses.fields(value)
        }
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):
        if value and all(isinstance(each, int) for each in value):
            return ".".join(map(str, value))
        return [plain(each) for each in value]
    return value


def text(report: Report) -> str:
    """Return the report for people."""
    lines = [
        *_system("image", report.image),
        *_system("host", report.host),
        "",
    ]
    for model, title in (
        ("hybrid", "the image's MPI, started by the host:"),
        ("bind", "the host's MPI, bound into the image:"),
    ):
        cells = [cell for cell in report.cells if cell.model == model]
        if not cells:
            continue
        lines.append(title)
        for cell in cells:
            what = cell.way if model == "hybrid" else cell.library
            lines.append(f"  {cell.finding.verdict.value:<12}  {what}")
            lines.append(f"  {'':<12}  {cell.finding.reason}")
        lines.append("")
    lines.append(f"{report.verdict.value}: {report.reason}")
    lines += [f"  you can: {line}" for line in report.do[:1]]
    lines += [f"           {line}" for line in report.do[1:]]
    if report.trap:
        lines.append(f"  but: {report.trap}")
    lines.append(
        "  (dask-runner itself needs no MPI; this is about MPI programs in the image)"
    )
    # Names and versions in it come from an image, which may be a stranger's.
    return "\n".join(map(printable, lines))


def _system(title: str, facts: Facts) -> list[str]:
    glibc = ".".join(map(str, facts.glibc))
    libc = f", glibc {glibc}" if glibc else ""
    rows = [f"{facts.root}: {facts.system or 'unknown system'}, {facts.arch}{libc}"]
    for library in facts.libraries:
        pmi = [
            f"PMIx {library.pmix}".strip() if kind == "pmix" else kind.upper()
            for kind in sorted(library.pmi)
        ]
        rows.append(f"{library}, {library.path} ({', '.join(pmi) or 'no PMI seen'})")
    if facts.slurm:
        rows.append(
            f"Slurm with --mpi={', '.join(facts.slurm.plugins)} "
            f"({facts.slurm.directory})"
        )
    rows += [
        f"{each.path}, {_KINDS[each.kind]} {each.version}".rstrip()
        for each in facts.launchers
    ]
    rows += [f"not read: {note}" for note in facts.notes]
    return [
        f"{title if not at else '':<7}{printable(row, _MOST_CHARACTERS)}"
        for at, row in enumerate(rows)
    ]


_KINDS = {
    "prte": "launcher of Open MPI 5:",
    "orte": "launcher of Open MPI 4:",
    "hydra": "Hydra",
    "intel": "Hydra of Intel MPI",
}
