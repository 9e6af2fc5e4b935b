"""The image that this runs in: what was measured in it, and what it sets for MPI."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Written by images/scripts/measure_abi.py when the image was built.
FACTS = Path(sys.prefix) / "abi.json"


@dataclass(frozen=True, slots=True)
class SafeSetting:
    """A variable with which MPI works in unprivileged Apptainer.

    Attributes
    ----------
    name, value : str
        As images/Dockerfile sets it.
    reason : str
        What happens without.
    """

    name: str
    value: str
    reason: str


#: Unprivileged Apptainer gives each rank a user namespace of its own, and the kernel
#: keeps ranks out of each other's memory and /proc then.
SAFE_SETTINGS = (
    SafeSetting(
        "UCX_POSIX_USE_PROC_LINK",
        "n",
        "UCX would open another rank's memory through /proc, which fails between "
        "user namespaces",
    ),
    SafeSetting(
        "MPIR_CVAR_CH4_CMA_ENABLE",
        "0",
        "MPICH 5 would copy out of another rank's memory, which aborts between user "
        "namespaces",
    ),
    SafeSetting(
        "OMPI_MCA_btl_vader_single_copy_mechanism",
        "none",
        "Open MPI 4 would copy out of another rank's memory, which hangs between "
        "user namespaces",
    ),
)


def facts(file: Path = FACTS) -> dict[str, Any] | None:
    """Return what was measured in this image; None outside of one."""
    try:
        found: dict[str, Any] = json.loads(file.read_text())
    except FileNotFoundError:
        return None
    return found


#: How libmpi is called by the family, as far as a name tells it.
_FAMILIES = {".so.40": "Open MPI", ".so.12": "MPICH"}


def library(environ: Mapping[str, str], file: Path = FACTS) -> str:
    """Return the MPI that a rank would load, as the library calls itself.

    From what was measured in the image, or from the name that MPI4PY_LIBMPI has for
    another one; empty where neither tells. Asking the library means to load it.
    """
    named = environ.get("MPI4PY_LIBMPI", "")
    if named:
        ends = (name for end, name in _FAMILIES.items() if end in Path(named).name)
        family = next(ends, "")
        return family and f"{family} ({named})"
    mpi = (facts(file) or {}).get("mpi", {})
    vendor, version = mpi.get("vendor", ""), mpi.get("version", "")
    if vendor == "MPICH":
        return f"MPICH Version: {version}"
    return vendor and f"{vendor} v{version}"


def describe(
    environ: Mapping[str, str], found: Mapping[str, Any]
) -> Iterator[tuple[str, str, str]]:
    """Give name, value and source of what there is to say of an image.

    Parameters
    ----------
    environ : mapping
        The environment.
    found : mapping
        Its :func:`facts`.
    """
    mpi = found["mpi"]
    measured = f"measured when the image was built ({FACTS})"
    yield (
        "mpi",
        f"{mpi.get('vendor', 'none')} {mpi.get('version', '')}".strip(),
        measured,
    )
    yield "pmi", " ".join(found["pmi"]) or "none", measured
    yield "pmix", found["pmix"] or "none", measured
    for setting in SAFE_SETTINGS:
        value = environ.get(setting.name)
        if value == setting.value:
            source = f"set by the image: {setting.reason}"
        else:
            source = f"not the image's {setting.value!r}: {setting.reason}"
        yield setting.name, "not set" if value is None else value, source
