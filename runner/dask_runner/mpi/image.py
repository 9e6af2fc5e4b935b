"""The image that this runs in: what was measured in it, and what it sets for MPI."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask_runner.mpi.abi.vendors import SONAMES, VENDORS
from dask_runner.mpi.container_settings import CONTAINER_SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Written by images/scripts/measure_abi.py when the image was built.
FACTS = Path(sys.prefix) / "abi.json"


def facts(file: Path = FACTS) -> dict[str, Any] | None:
    """Return what was measured in this image; None outside of one."""
    try:
        found: dict[str, Any] = json.loads(file.read_text())
    except FileNotFoundError:
        return None
    return found


#: What a library is taken for by its name alone: of each family, the vendor from which
#: the others derive comes last.
_BY_NAME = {SONAMES[vendor.family]: vendor.name for vendor in VENDORS}


def library(environ: Mapping[str, str], file: Path = FACTS) -> str:
    """Return the MPI that a rank would load, as the library calls itself.

    From what was measured in the image, or from the name that MPI4PY_LIBMPI has for
    another one; empty where neither tells. Asking the library means to load it.
    """
    named = environ.get("MPI4PY_LIBMPI", "")
    if named:
        _, _, version = Path(named).name.partition(".so.")
        vendor = _BY_NAME.get(f"libmpi.so.{version.partition('.')[0]}", "")
        return vendor and f"{vendor} ({named})"
    mpi = (facts(file) or {}).get("mpi", {})
    vendor, version = mpi.get("vendor", ""), mpi.get("version", "")
    if vendor == "MPICH":
        return f"MPICH Version: {version}"
    return vendor and f"{vendor} v{version}"


def describe(
    environ: Mapping[str, str], found: Mapping[str, Any]
) -> Iterator[tuple[str, str, str]]:
    """Yield the rows of ``info`` on an image: name, value and source.

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
    for setting in CONTAINER_SETTINGS:
        value = environ.get(setting.name)
        if value == setting.value:
            source = f"set by the image: {setting.reason}"
        else:
            source = f"not the image's {setting.value!r}: {setting.reason}"
        yield setting.name, "not set" if value is None else value, source
