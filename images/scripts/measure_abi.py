"""Measure what decides whether an image fits a host, and write it as JSON.

Runs inside the image while it is built (``measure_abi.py abi.json FAMILY``, which
fails if it finds another family; ``--labels abi.json`` prints them), and again in
the tests, which compare. Nothing here is typed in: a version is what the library
says of itself, a soname what the ELF file says, a PMI kind what the library links
or says to a launcher.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

# Grows when a key changes its meaning, not when one is added.
SCHEMA = 1
PACKAGES = ("dask", "distributed", "mpi4py", "numpy")
# An MPI that is not Debian's is libmpi.so.N; Debian's MPICH is linked to that name.
LIBRARIES = ("libmpi.so", "libmpich.so")
# What a library of each family says of itself, Intel's and the others' being MPICH's.
FAMILIES = {"Open MPI": "openmpi"}
# A rank's first word to its launcher, by the version that it is told to speak.
PMI_ASKS = {"1": "pmi1", "2": "pmi2"}
PMI_WORD = re.compile(rb"cmd=init pmi_version=(\d)|cmd=(full)init")
PMI_SECONDS = 30


def measure() -> dict[str, Any]:
    """Return the facts of the running image."""
    mpi = _mpi()
    loaded = _loaded()
    library = mpi.get("file")
    return {
        "schema": SCHEMA,
        "arch": platform.machine(),
        "glibc": platform.libc_ver()[1],
        "python": platform.python_version(),
        "mpi": mpi,
        "pmi": _pmi_kinds(mpi),
        "pmix": _says(library, "PMIx_Get_version"),
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
    try:
        from mpi4py import MPI  # noqa: PLC0415
    except RuntimeError:
        # "cannot load MPI library", with the list of all that was tried.
        return {"family": "none"}

    vendor, numbers = MPI.get_vendor()
    loaded = _loaded()
    file = next(loaded[name] for name in LIBRARIES if name in loaded)
    return {
        "family": FAMILIES.get(vendor, "mpich"),
        "vendor": vendor,
        "version": ".".join(map(str, numbers)),
        "standard": ".".join(map(str, MPI.Get_version())),
        "soname": _dynamic(file, "DT_SONAME")[0],
        # By what name mpi4py wants it: another one has to be linked to this.
        "needed": next(
            name
            for name in _dynamic(Path(MPI.__file__), "DT_NEEDED")
            if name.startswith("libmpi")
        ),
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


def _dynamic(file: Path, tag: str) -> list[str]:
    # Only in an image: who reads facts of one needs no ELF.
    from elftools.elf.elffile import ELFFile  # noqa: PLC0415

    with file.open("rb") as stream:
        dynamic = ELFFile(stream).get_section_by_name(".dynamic")
        name = tag.removeprefix("DT_").lower()
        return [str(getattr(one, name)) for one in dynamic.iter_tags(tag)]


def _launcher() -> str:
    mpiexec = shutil.which("mpiexec")
    if mpiexec is None:
        return ""
    output = subprocess.run(
        [mpiexec, "--version"], capture_output=True, text=True, check=True
    ).stdout
    # Open MPI says it in the first line, Hydra in the second of a dozen.
    lines = [" ".join(line.split()) for line in output.splitlines()]
    return " ".join(lines[:2]) if lines[0].startswith("HYDRA") else lines[0]


def _pmi_kinds(mpi: dict[str, str]) -> list[str]:
    kinds = set()
    library = mpi.get("file")
    if library and hasattr(ctypes.CDLL(library), "PMIx_Get_version"):
        kinds.add("pmix")
    if mpi["family"] == "mpich":
        kinds |= {kind for kind in map(_first_word, PMI_ASKS) if kind}
    return sorted(kinds)


def _first_word(ask: str) -> str | None:
    """Be the launcher of one rank, and return the PMI that it begins to speak."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        rank = subprocess.Popen(
            [sys.executable, "-c", "from mpi4py import MPI"],
            env=os.environ
            | {
                "PMI_FD": str(theirs.fileno()),
                "PMI_RANK": "0",
                "PMI_SIZE": "2",
                "MPIR_CVAR_PMI_VERSION": ask,
            },
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        theirs.close()
        ours.settimeout(PMI_SECONDS)
        try:
            said = PMI_WORD.search(ours.recv(1024))
        finally:
            rank.kill()
            rank.wait()
    if said is None:
        return None
    return PMI_ASKS[(said[1] or b"2").decode()]


def _says(file: Path | str | None, function: str) -> str | None:
    """Return the version that a library, or one that it links, tells."""
    if file is None or not hasattr(ctypes.CDLL(str(file)), function):
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


def labels(facts: dict[str, Any]) -> dict[str, str]:
    """Return facts as labels of an image, ``dask-runner.mpi.family`` and so on."""
    return dict(_flat("dask-runner", facts))


def _flat(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _flat(f"{name}.{key}", part)
    elif isinstance(value, list):
        yield name, " ".join(map(str, value))
    else:
        yield name, "" if value is None else str(value)


def main(file: str = "", family: str = "") -> None:
    """Write the facts to a file or, without one, to stdout.

    Parameters
    ----------
    file : str
        Where to.
    family : str
        What it has to be: openmpi, mpich or none.
    """
    facts = measure()
    found = facts["mpi"]["family"]
    if family not in ("", found):
        sys.exit(f"MPI={family} was asked for, but the image has {found}")
    text = json.dumps(facts, indent=2) + "\n"
    if file:
        Path(file).write_text(text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--labels"]:
        # As Apptainer takes them: a name, a space, the value.
        for label in labels(json.loads(Path(sys.argv[2]).read_text())).items():
            sys.stdout.write(" ".join(label) + "\n")
    else:
        main(*sys.argv[1:])
