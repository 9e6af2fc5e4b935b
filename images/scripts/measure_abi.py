"""Measure what decides whether an image fits a host, and write it as JSON.

Runs inside the image while it is built (``measure_abi.py abi.json``), and again
in the tests, which compare. Nothing here is typed in: a version is what the
library says of itself, a soname what the ELF file says, a PMI kind what the MPI
library carries.
"""

from __future__ import annotations

import ctypes
import json
import platform
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile

# Grows when a key changes its meaning, not when one is added.
SCHEMA = 1
PACKAGES = ("dask", "distributed", "mpi4py", "numpy")
# Loaded into the process together with MPI: then MPI speaks it.
PMI_LIBRARIES = {"pmix": "libpmix.so", "pmi1": "libpmi.so", "pmi2": "libpmi2.so"}
# MPICH carries its own client; this is a word of its first line to the launcher.
PMI1_MARK = b"pmi_version"


def measure() -> dict[str, Any]:
    """Return the facts of the running image."""
    mpi = _mpi()
    loaded = _loaded()
    return {
        "schema": SCHEMA,
        "arch": platform.machine(),
        "glibc": platform.libc_ver()[1],
        "python": platform.python_version(),
        "mpi": mpi,
        "pmi": _pmi_kinds(loaded, Path(mpi["file"])),
        "pmix": _says(loaded.get("libpmix.so"), "PMIx_Get_version"),
        "libfabric": _libfabric(loaded.get("libfabric.so")),
        "ucx": _says(loaded.get("libucp.so"), "ucp_get_version_string"),
        "packages": {name: version(name) for name in PACKAGES},
    }


def _mpi() -> dict[str, str]:
    import mpi4py  # noqa: PLC0415 - rc must be set before MPI is imported

    # Questions about the library need no MPI_Init, which would look for a
    # launcher and devices that a build does not have.
    mpi4py.rc.initialize = False
    mpi4py.rc.finalize = False
    from mpi4py import MPI  # noqa: PLC0415

    vendor, numbers = MPI.get_vendor()
    file = _loaded()["libmpi.so"]
    return {
        "family": {"Open MPI": "openmpi"}.get(vendor, "mpich"),
        "vendor": vendor,
        "version": ".".join(map(str, numbers)),
        "standard": ".".join(map(str, MPI.Get_version())),
        "soname": _soname(file),
        "file": str(file),
        "launcher": _launcher(),
    }


def _loaded() -> dict[str, Path]:
    """Return the libraries of this process, by name up to ``.so``."""
    found: dict[str, Path] = {}
    for line in Path("/proc/self/maps").read_text().splitlines():
        # 7f3c0e628000-7f3c0e64a000 r--p 00000000 fe:00 1234  /usr/lib/libmpi.so.40
        path = Path(line.split(maxsplit=5)[5]) if line.count("/") else None
        if path and ".so" in path.name:
            found.setdefault(path.name.partition(".so")[0] + ".so", path)
    return found


def _soname(file: Path) -> str:
    with file.open("rb") as stream:
        dynamic = ELFFile(stream).get_section_by_name(".dynamic")
        return str(next(tag.soname for tag in dynamic.iter_tags("DT_SONAME")))


def _launcher() -> str:
    mpiexec = shutil.which("mpiexec")
    if mpiexec is None:
        return ""
    output = subprocess.run(
        [mpiexec, "--version"], capture_output=True, text=True, check=True
    ).stdout
    # Open MPI says it in the first line, Hydra in one of a dozen.
    lines = [line.strip() for line in output.splitlines()]
    return next((line for line in lines if line.startswith("Version:")), lines[0])


def _pmi_kinds(loaded: dict[str, Path], libmpi: Path) -> list[str]:
    kinds = {kind for kind, name in PMI_LIBRARIES.items() if name in loaded}
    if PMI1_MARK in libmpi.read_bytes():
        kinds.add("pmi1")
    return sorted(kinds)


def _says(file: Path | None, function: str) -> str | None:
    """Return the version that a library tells, if it is loaded at all."""
    if file is None:
        return None
    call = getattr(ctypes.CDLL(str(file)), function)
    call.restype = ctypes.c_char_p
    return _numbers(call().decode())


def _libfabric(file: Path | None) -> str | None:
    if file is None:
        return None
    # Two halves of one number: 0x00020001 is 2.1.
    packed = ctypes.CDLL(str(file)).fi_version()
    return f"{packed >> 16}.{packed & 0xFFFF}"


def _numbers(text: str) -> str:
    """Return the version in ``OpenPMIx 5.0.7, repo rev: v5.0.7, ...``."""
    match = re.search(r"\d+(\.\d+)+", text)
    if match is None:
        message = f"no version in {text!r}"
        raise ValueError(message)
    return match[0]


if __name__ == "__main__":
    text = json.dumps(measure(), indent=2) + "\n"
    if sys.argv[1:]:
        Path(sys.argv[1]).write_text(text)
    else:
        sys.stdout.write(text)
