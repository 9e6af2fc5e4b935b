"""The library's ways in under real mpiexec, of Open MPI and of MPICH."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from ci import mpi
from tests.programs import INITIALIZE
from tests.running import Ended, Run

Mpiexec = Callable[..., Ended]

FAMILIES = ("openmpi", "mpich")


@pytest.fixture
def mpiexec(
    tmp_path: Path, require: Callable[..., AbstractContextManager[None]]
) -> Iterator[Mpiexec]:
    """Run a script under a family's mpiexec."""
    runs: list[Run] = []

    def start(family: str, ranks: int, text: str, **env: str) -> Ended:
        with require("a package index that has MPI", "local"):
            try:
                runtime = mpi.runtime(family)
            except subprocess.CalledProcessError as error:
                raise OSError(str(error)) from error
        script = tmp_path / "script.py"
        script.write_text(text)
        line = (*runtime.mpiexec(ranks), sys.executable, str(script))
        runs.append(Run(line, env={**runtime.environ({}), **env}, timeout=90))
        return runs[-1].wait()

    yield start
    for run in runs:
        run.discard()


RUNNER = """\
from distributed import Client
from dask_runner import MPIRunner
with MPIRunner() as runner:
    with Client(runner) as client:
        client.wait_for_workers(runner.n_workers)
        assert client.submit(lambda x: x + 1, 10).result() == 11
        assert client.submit(lambda x: x + 1, 20, workers=2).result() == 21
        print("ran with", runner.n_workers)
"""


@pytest.mark.parametrize("family", FAMILIES)
def test_the_runner_for_mpi_meets_by_mpi(mpiexec: Mpiexec, family: str) -> None:
    ended = mpiexec(family, 4, RUNNER)

    assert (ended.status, ended.stdout) == (0, "ran with 2\n"), ended


def test_without_mpi_the_ranks_of_a_runner_meet_over_the_launcher(
    mpiexec: Mpiexec,
) -> None:
    text = RUNNER.replace("MPIRunner", "Runner")
    ended = mpiexec("mpich", 3, text, MPI4PY_LIBMPI="/nowhere/libmpi.so")

    assert (ended.status, ended.stdout) == (0, "ran with 3\n"), ended


HALF = """\
from distributed import Client
from mpi4py import MPI
from dask_runner import MPIRunner
world = MPI.COMM_WORLD
half = world.Split(world.rank % 2, world.rank)
with MPIRunner(half, layout="shared") as runner, Client(runner) as client:
    print(world.rank, runner.n_workers)
"""


def test_a_communicator_of_its_own_makes_a_cluster_of_its_own(
    mpiexec: Mpiexec,
) -> None:
    ended = mpiexec("openmpi", 4, HALF)

    assert ended.status == 0, ended
    assert sorted(ended.stdout.splitlines()) == ["0 2", "1 2"], ended


def test_initialize_is_what_users_of_dask_mpi_expect(mpiexec: Mpiexec) -> None:
    ended = mpiexec("openmpi", 3, INITIALIZE)

    assert (ended.status, ended.stdout) == (0, "[3, 2, 1]\n" * 3), ended


STAY = """\
from distributed import Client
from dask_runner import initialize
from dask_runner.library.dask_mpi import send_close_signal

if initialize(exit=False):
    with Client() as client:
        print("client", client.submit(pow, 2, 10).result(), flush=True)
    send_close_signal()
else:
    print("other", flush=True)
"""


def test_initialize_gives_the_other_ranks_back_if_told_so(mpiexec: Mpiexec) -> None:
    ended = mpiexec("mpich", 3, STAY)

    assert ended.status == 0, ended
    assert sorted(ended.stdout.splitlines()) == ["client 1024", "other", "other"]


EXECUTE = """\
from distributed import Client
from dask_runner import execute

def work(x, y):
    with Client() as client:
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        print(sorted(worker["id"] for worker in workers))
        return client.submit(pow, x, y).result()

value = execute(work, (2,), {"y": 10}, client_rank=0, worker_name="w", **PARTS)
if value is not None:
    print(value)
"""


@pytest.mark.parametrize(
    ("parts", "workers"),
    [
        ({"exclusive_workers": False}, "['w-0', 'w-1']"),
        ({"scheduler_rank": 1, "exclusive_workers": False}, "['w-0', 'w-1']"),
        ({}, "['w-1']"),
    ],
    ids=["all work", "the scheduler elsewhere", "one works"],
)
def test_execute_runs_a_function_in_the_clients_rank(
    mpiexec: Mpiexec, parts: dict[str, object], workers: str
) -> None:
    ended = mpiexec("mpich", 2, f"PARTS = {parts}\n{EXECUTE}")

    assert (ended.status, ended.stdout) == (0, f"{workers}\n1024\n"), ended
