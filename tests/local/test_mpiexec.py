"""Under the mpiexec of each MPI family, from the wheels that ci/mpi.py installs."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ci import mpi
from tests.running import DASK_RUNNER, Run
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Require
    from tests.running import Ended

CONFIG = 78

#: Where mpi4py finds no library.
NO_MPI = {"MPI4PY_LIBMPI": "/nowhere/libmpi.so"}

#: Hides that all ranks are on one node, where a file is enough.
SEVERAL_NODES = (
    "env",
    "--unset=OMPI_COMM_WORLD_LOCAL_RANK",
    "--unset=OMPI_COMM_WORLD_LOCAL_SIZE",
)

#: Closes the launcher's socket before it becomes the command that follows.
CLOSE = """
import os, sys
os.close(int(os.environ["PMI_FD"]))
os.execvp(sys.argv[1], sys.argv[1:])
"""

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
        before = how.pop("before", ())
        words = [*runtime.mpiexec(ranks), *before, str(DASK_RUNNER), *map(str, args)]
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


def test_ranks_meet_and_a_script_may_use_mpi_by_itself(
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


@pytest.mark.parametrize(
    ("launcher", "library", "before"),
    [("mpich", "openmpi", ()), ("openmpi", "mpich", SEVERAL_NODES)],
    ids=["mpich", "openmpi"],
)
def test_ranks_meet_though_the_mpi_is_of_another_family(
    launcher: str,
    library: str,
    before: tuple[str, ...],
    mpiexec: Callable[..., Run],
    require: Require,
) -> None:
    env = {"MPI4PY_LIBMPI": str(installed(library, require).library)}
    runtime = installed(launcher, require)
    ended = mpiexec(runtime, 2, "-c", CODE, env=env, before=before).wait()
    assert (ended.status, ended.stdout) == (0, "[0, 1] tls\n"), ended
    assert len(ended.stderr.splitlines()) <= 6, ended


def test_ranks_of_open_mpi_that_share_no_directory_meet_by_an_mpi_broadcast(
    mpiexec: Callable[..., Run], require: Require, short_path: Path
) -> None:
    nowhere = Path("/proc")
    env = {"HOME": str(nowhere), "TMPDIR": str(short_path)}
    how = {"env": env, "cwd": nowhere, "before": SEVERAL_NODES}
    ended = mpiexec(installed("openmpi", require), 2, "-c", CODE, **how).wait()
    assert (ended.status, ended.stdout) == (0, "[0, 1] tls\n"), ended
    assert_only_open_mpis(short_path)


def test_no_way_to_meet_is_one_error_with_the_reason_of_each(
    mpiexec: Callable[..., Run], require: Require
) -> None:
    # A wrapper that closes what it does not know, as some for containers do.
    ended = mpiexec(
        installed("mpich", require),
        3,
        *("-c", CODE),
        before=(sys.executable, "-c", CLOSE),
        env=NO_MPI,
    ).wait(stray=".*")
    assert ended.status == CONFIG, ended
    one_error(ended, "no socket that the launcher has left open")
    one_error(ended, "mpi4py does not work")
    one_error(ended, "--scheduler-file")


def test_the_launchers_space_may_be_behind_a_port(
    mpiexec: Callable[..., Run], require: Require
) -> None:
    # As with mpirun_rsh of MVAPICH2; Hydra does it on demand and then leaves the
    # size to be asked for.
    script = 'PMI_RANK=$PMI_ID PMI_SIZE=3 exec "$@"'
    before = ("-pmi-port", "sh", "-c", script, "sh")
    runtime = installed("mpich", require)
    ended = mpiexec(runtime, 3, "-c", CODE, before=before, env=NO_MPI).wait()
    assert (ended.status, ended.stdout) == (0, "[0, 1, 2] tls\n"), ended


def test_a_rank_that_never_comes_to_the_barrier_is_told_from_other_troubles(
    mpiexec: Callable[..., Run], require: Require, short_path: Path
) -> None:
    script = 'test "$PMI_RANK" = 2 && exec sleep 60; exec "$@"'
    before = ("sh", "-c", script, "sh")
    args = ("--timeout", 3, "-c", CODE)
    runtime = installed("mpich", require)
    # Hydra kills rank 1 when rank 0 has given up; its directory may stay.
    env = {"TMPDIR": str(short_path)}
    ended = mpiexec(runtime, 3, *args, before=before, env=env).wait(stray=".*")
    assert ended.status != 0, ended
    assert "not all ranks have come to its barrier" in ended.stderr, ended
    assert "Traceback" not in ended.stderr, ended


def test_missing_scripts_are_said_once(
    family: mpi.Runtime, mpiexec: Callable[..., Run]
) -> None:
    ended = mpiexec(family, 4, "no-such-script.py").wait(stray=".*")
    assert ended.status == CONFIG, ended
    one_error(ended, "no-such-script.py")


#: Uses a cluster by its scheduler file, then shuts it down, with Dask alone.
USE = """
import json, sys
from distributed import Client, Security
file = json.load(open(sys.argv[1]))
client = Client(file["address"], security=Security(**file["security"]))
print(len(client.nthreads()))
client.shutdown()
"""


def test_it_serves_a_cluster_that_dasks_client_finds_by_a_scheduler_file(
    family: mpi.Runtime, mpiexec: Callable[..., Run], tmp_path: Path
) -> None:
    file = tmp_path / "cluster.json"
    run = mpiexec(family, 3, "serve", "--scheduler-file", file, "--layout", "dedicated")
    run.wait_for("ready after")
    until(lambda: "address" in json.loads(file.read_text()))
    used = subprocess.run(
        [sys.executable, "-c", USE, str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert used.stdout == "2\n"
    assert run.wait().status == 0
