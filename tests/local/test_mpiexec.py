"""Under the mpiexec of each MPI family, from the wheels that ci/mpi.py installs."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ci import mpi
from tests.running import DASK_RUNNER, Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Require
    from tests.running import Ended

CONFIG = 78

CODE = """
from distributed import Client
client = Client()
workers = client.scheduler_info(n_workers=-1)["workers"].values()
print(sorted(worker["name"] for worker in workers), client.scheduler.address[:3])
"""

#: The program is no rank of the launcher: in it, MPI is a world of one.
WORLD = CODE + "from mpi4py import MPI; print(MPI.COMM_WORLD.size)\n"


@pytest.fixture(params=["openmpi", "openmpi4", "mpich"])
def family(request: pytest.FixtureRequest, require: Require) -> mpi.Runtime:
    return installed(request.param, require)


def installed(name: str, require: Require) -> mpi.Runtime:
    with require(f"the {name} wheel of the package index", "local"):
        try:
            return mpi.runtime(name)
        except subprocess.CalledProcessError as error:
            raise OSError(str(error)) from error


@pytest.fixture
def mpiexec() -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start(runtime: mpi.Runtime, ranks: int, *args: Any, **how: Any) -> Run:
        env = {**runtime.environ({}), **how.pop("env", {})}
        words = [*runtime.mpiexec(ranks), str(DASK_RUNNER), *map(str, args)]
        runs.append(Run(tuple(words), env=env, timeout=120, **how))
        return runs[-1]

    yield start
    for run in runs:
        run.discard()


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory in whose path there is room for a socket's name."""
    with tempfile.TemporaryDirectory(prefix="mpi-") as path:
        yield Path(path)


def assert_only_open_mpis(directory: Path) -> None:
    """Allow for what Open MPI leaves behind of a process that it did not launch."""
    left = [path for path in directory.iterdir() if not path.name.startswith("ompi.")]
    assert not left


def one_error(ended: Ended, word: str) -> None:
    assert ended.stderr.count("dask-runner: error: ") == 1, ended
    assert word in ended.stderr, ended
    assert "Traceback" not in ended.stderr, ended
    assert ended.stderr.count("  needed: ") == 1, ended
    assert ended.stderr.count("  you can: ") == 1, ended


def test_ranks_meet_by_an_mpi_broadcast_and_a_script_may_use_mpi_by_itself(
    family: mpi.Runtime, mpiexec: Callable[..., Run], short_path: Path
) -> None:
    env = {"TMPDIR": str(short_path)}
    ended = mpiexec(family, 3, "-c", WORLD, env=env).wait()
    assert ended.status == 0, ended
    assert ended.stdout == "[0, 1, 2] tls\n1\n"
    assert len(ended.stderr.splitlines()) <= 6, ended
    assert_only_open_mpis(short_path)


def test_the_scripts_status_is_mpiexecs(
    family: mpi.Runtime, mpiexec: Callable[..., Run]
) -> None:
    ended = mpiexec(family, 2, "-c", "import sys; sys.exit(3)").wait(stray=".*")
    assert ended.status == 3, ended


def test_another_familys_library_is_one_error_and_no_rank_is_left(
    mpiexec: Callable[..., Run], require: Require, short_path: Path
) -> None:
    launcher, library = installed("mpich", require), installed("openmpi", require)
    env = {"MPI4PY_LIBMPI": str(library.library), "TMPDIR": str(short_path)}
    ended = mpiexec(launcher, 4, "-c", CODE, env=env).wait()
    assert_only_open_mpis(short_path)
    assert ended.status == CONFIG, ended
    one_error(ended, "MPI")


def test_the_other_way_round_is_one_error_as_well(
    mpiexec: Callable[..., Run], require: Require
) -> None:
    launcher, library = installed("openmpi", require), installed("mpich", require)
    env = {"MPI4PY_LIBMPI": str(library.library)}
    ended = mpiexec(launcher, 4, "-c", CODE, env=env).wait(stray=".*")
    assert ended.status == CONFIG, ended
    one_error(ended, "MPI")


def test_without_a_usable_mpi_ranks_of_open_mpi_meet_by_a_file(
    mpiexec: Callable[..., Run], require: Require
) -> None:
    launcher = installed("openmpi", require)
    env = {"MPI4PY_LIBMPI": "/nowhere/libmpi.so"}
    ended = mpiexec(launcher, 3, "-c", CODE, env=env).wait()
    assert ended.status == 0, ended
    assert ended.stdout == "[0, 1, 2] tls\n"


def test_without_a_usable_mpi_ranks_of_mpich_are_told_the_way_out(
    mpiexec: Callable[..., Run], require: Require, tmp_path: Path
) -> None:
    launcher = installed("mpich", require)
    env = {"MPI4PY_LIBMPI": "/nowhere/libmpi.so"}
    ended = mpiexec(launcher, 3, "-c", CODE, env=env).wait(stray=".*")
    if ended.status:
        assert ended.status == CONFIG, ended
        one_error(ended, "--scheduler-file")
    file = ("--scheduler-file", tmp_path / "s.json")
    ended = mpiexec(launcher, 3, *file, "-c", CODE, env=env).wait()
    assert ended.stdout == "[0, 1, 2] tls\n", ended


def test_missing_scripts_are_said_once(
    family: mpi.Runtime, mpiexec: Callable[..., Run]
) -> None:
    ended = mpiexec(family, 4, "no-such-script.py").wait(stray=".*")
    assert ended.status == CONFIG, ended
    one_error(ended, "no-such-script.py")
