"""What check says of real MPIs, and what their launchers then do."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any

import mpi4py
import pytest

from ci import mpi
from dask_runner.mpi.abi.inventory import take
from dask_runner.mpi.abi.root import Root

FAMILIES = ("openmpi", "openmpi4", "mpich")

# A world of two with 4 MiB each way; one of one is what a wrong pair ends in.
WORLD = """\
from mpi4py import MPI
world = MPI.COMM_WORLD
if world.size == 2:
    got = bytearray(4 << 20)
    world.Sendrecv(bytearray(4 << 20), 1 - world.rank, 0, got, 1 - world.rank, 0)
print(world.size, flush=True)
"""


@pytest.fixture
def runtime(
    require: Callable[..., AbstractContextManager[None]],
) -> Callable[[str], mpi.Runtime]:
    """Give a family's runtime from the package index."""

    def give(family: str) -> mpi.Runtime:
        with require("a package index that has MPI", "local"):
            try:
                return mpi.runtime(family)
            except subprocess.CalledProcessError as error:
                raise OSError(str(error)) from error

    return give


def link(source: str, target: str) -> None:
    """Put a file there without its bytes, if both are on one disk."""
    try:
        os.link(os.path.realpath(source), target)
    except OSError:
        shutil.copyfile(source, target)


@pytest.fixture
def image(tmp_path: Path) -> Callable[[mpi.Runtime], Path]:
    """Give an unpacked image of a runtime: C library, MPI, and mpi4py's wheel."""

    @cache
    def give(runtime: mpi.Runtime) -> Path:
        top = tmp_path / runtime.family.name
        machine = Root(Path("/"))
        for name in ("libc.so.6", "libz.so.1"):
            path = machine.library(name)
            assert path
            library = (top / path.lstrip("/")).with_name(name)
            library.parent.mkdir(parents=True, exist_ok=True)
            link(path, str(library))
        for name in ("lib", "bin"):
            shutil.copytree(
                runtime.prefix / name,
                top / "opt/mpi" / name,
                copy_function=link,
                ignore=shutil.ignore_patterns("python*"),
                symlinks=True,
            )
        site = top / "opt/app/lib/python3/site-packages"
        shutil.copytree(mpi4py.__path__[0], site / "mpi4py", copy_function=link)
        (top / "opt/app/pyvenv.cfg").touch()
        return top

    return give


FACTS = {
    "openmpi": ("openmpi", "Open MPI", "5.0.11", {"pmix"}, "5.0.11rc1", "prte"),
    "openmpi4": ("openmpi", "Open MPI", "4.1.8", {"pmix"}, "3.2.5a1", "orte"),
    "mpich": ("mpich", "MPICH", "5.0.2", {"pmi1"}, "", "hydra"),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_facts_of_an_mpi_are_read_from_its_files(
    runtime: Callable[[str], mpi.Runtime],
    image: Callable[[mpi.Runtime], Path],
    family: str,
) -> None:
    abi, vendor, version, pmi, pmix, launcher = FACTS[family]

    facts = take(Root(image(runtime(family))))

    library = facts.libraries[0]
    assert (library.family, library.vendor, library.version) == (abi, vendor, version)
    assert (library.pmi, library.pmix) == (pmi, pmix)
    assert library.missing == ()
    assert library.prefix == "/opt/mpi"
    assert {module.family for module in facts.modules} == {"openmpi", "mpich"}
    assert all(
        module.imports <= library.exports
        for module in facts.modules
        if module.family == abi
    )
    # mpiexec, which a wheel of Open MPI 5 has beside prterun to start that.
    assert [
        (Path(each.path).name, each.kind, each.version) for each in facts.launchers
    ] == [("mpiexec", launcher, version)]
    assert facts.notes == ()


def check(image: Path, prefix: Path) -> tuple[int, dict[str, Any]]:
    """Run the command against this machine with an MPI of its own."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "dask_runner", "check", str(image)),
            *("--host", "/", "--mpi", str(prefix), "--json"),
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


# The pairs that differ in more than a release; make test-abi has them all.
PAIRS = (
    ("openmpi", "openmpi4"),
    ("openmpi4", "openmpi"),
    ("openmpi4", "openmpi4"),
    ("openmpi", "mpich"),
    ("mpich", "openmpi"),
)


@pytest.mark.parametrize(("launcher", "family"), PAIRS)
def test_what_check_says_of_a_pair_is_what_the_pair_does(
    runtime: Callable[[str], mpi.Runtime],
    image: Callable[[mpi.Runtime], Path],
    tmp_path: Path,
    launcher: str,
    family: str,
) -> None:
    starts, inside = runtime(launcher), image(runtime(family))
    script = tmp_path / "world.py"
    script.write_text(WORLD)

    status, found = check(inside, starts.prefix)
    # The machine is also the image's: nothing between the two but the files.
    environ = starts.environ({"PATH": os.environ["PATH"], "HOME": str(tmp_path)})
    environ["MPI4PY_LIBMPI"] = str(inside / f"opt/mpi/lib/{_library(family)}")
    ran = subprocess.run(
        [
            *starts.mpiexec(2),
            *("env", f"OPAL_PREFIX={inside}/opt/mpi"),
            *(f"PMIX_INSTALL_PREFIX={inside}/opt/mpi", sys.executable, str(script)),
        ],
        env=environ,
        check=False,
        capture_output=True,
        text=True,
        timeout=150,
    )

    works = ran.returncode == 0 and ran.stdout.split() == ["2", "2"]
    (cell,) = (
        cell
        for cell in found["ways"]
        if cell["model"] == "hybrid" and str(starts.prefix) in cell["way"]
    )
    assert cell["verdict"] == ("compatible" if works else "incompatible"), (cell, ran)
    # Bound, the host's own MPI fits in any case, because it brings its launcher.
    assert (status, found["version"], found["verdict"]) == (0, 1, "compatible")


def _library(family: str) -> str:
    return mpi.FAMILIES[family].library


def test_nothing_that_fits_ends_with_the_status_of_a_wrong_environment(
    runtime: Callable[[str], mpi.Runtime], image: Callable[[mpi.Runtime], Path]
) -> None:
    inside = image(runtime("mpich"))
    shutil.rmtree(inside / "opt/app")
    host = image(runtime("openmpi4"))
    # A host with a launcher of the other family and no library to bind.
    shutil.rmtree(host / "opt/mpi/lib")

    done = subprocess.run(
        [
            *(sys.executable, "-m", "dask_runner", "check", str(inside)),
            *("--host", str(host)),
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 78, done
    assert "\nincompatible: " in done.stdout
    assert "  you can: " in done.stdout
