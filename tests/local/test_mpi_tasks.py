"""MPI in Dask's tasks: each rank's worker is the launcher's rank."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import pytest

from ci import mpi
from tests.running import DASK_RUNNER, Run

Require = Callable[..., AbstractContextManager[None]]
Start = Callable[..., Run]

SUM = """\
import os
from distributed import Client

def summed(number):
    from mpi4py import MPI
    world = MPI.COMM_WORLD
    assert world.rank == number, (world.rank, number)
    left, right = (world.rank - 1) % world.size, (world.rank + 1) % world.size
    got = bytearray(4 << 20)
    world.Sendrecv(bytearray([number]) * len(got), right, 0, got, left, 0)
    assert set(got) == {left}
    return world.allreduce(number)

client = Client()
ranks = range(len(client.scheduler_info(n_workers=-1)["workers"]))
for _ in range(2):
    sums = [client.submit(summed, n, workers=n, pure=False) for n in ranks]
    print(client.gather(sums))
print(sorted({"PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK"} & set(os.environ)))
"""


@pytest.fixture
def mpiexec(require: Require) -> Iterator[Start]:
    """Run ``dask-runner --mpi-tasks`` under one family, on a library of another."""
    runs: list[Run] = []

    def start(family: str, *args: Any, library: str = "") -> Run:
        with require(f"the {family} wheel of the package index", "local"):
            try:
                runtime = mpi.runtime(family)
                other = mpi.runtime(library or family)
            except CalledProcessError as error:
                raise OSError(str(error)) from error
        # Open MPI's sockets have names that begin there.
        env = {
            **runtime.environ({}),
            "MPI4PY_LIBMPI": str(other.library),
            "TMPDIR": short,
        }
        line = (*runtime.mpiexec(3), str(DASK_RUNNER), "--mpi-tasks", *map(str, args))
        runs.append(Run(line, env=env, timeout=120))
        return runs[-1]

    with tempfile.TemporaryDirectory(prefix="mpi-") as short:
        yield start
        for run in runs:
            run.discard()


@pytest.mark.parametrize("family", ["openmpi", "openmpi4", "mpich"])
def test_tasks_of_all_ranks_are_one_world_again_and_again(
    mpiexec: Start, family: str
) -> None:
    ended = mpiexec(family, "-c", SUM).wait()

    # The script itself is no rank.
    assert (ended.status, ended.stdout) == (0, "[3, 3, 3]\n[3, 3, 3]\n[]\n"), ended


@pytest.mark.parametrize(
    ("family", "library"), [("mpich", "openmpi"), ("openmpi4", "mpich3")]
)
def test_worlds_of_one_are_refused_before_the_script_begins(
    mpiexec: Start, family: str, library: str
) -> None:
    ended = mpiexec(family, "-c", "print('never')", library=library).wait(stray=".*")

    assert (ended.status, ended.stdout) == (78, ""), ended
    assert "the launcher started 3 ranks, but MPI sees a world of 1" in ended.stderr
    assert ended.stderr.count("dask-runner: error: ") == 1, ended


def test_ranks_that_do_not_work_are_told_instead_of_waited_for(
    mpiexec: Start, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text("print('never')")

    ended = mpiexec("mpich", "--layout", "dedicated", script).wait(stray=".*")

    assert (ended.status, ended.stdout) == (78, ""), ended
    assert "--layout shared" in ended.stderr
