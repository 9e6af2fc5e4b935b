"""A clean run says little, and nobody else says anything, however many ranks."""

from typing import TYPE_CHECKING, Any

import pytest

from ci import mpi
from tests.cluster.jobs import MOST_LINES, told
from tests.failures.conftest import place_on
from tests.failures.on_this_machine import FAMILIES
from tests.running import DASK_RUNNER, Run

if TYPE_CHECKING:
    from tests.conftest import Require

CODE = """
from distributed import Client
client = Client()
print(len(client.scheduler_info(n_workers=-1)["workers"]))
assert client.gather(client.map(abs, range(-100, 0))) == list(range(100, 0, -1))
"""
SIZES = [2, *(pytest.param(size, marks=pytest.mark.heavy) for size in (16, 32))]
SECONDS = 200.0


@pytest.mark.parametrize("ranks", SIZES)
@pytest.mark.parametrize("launcher", ["local", *FAMILIES])
def test_a_clean_run_on_this_machine_is_silent(
    launcher: str, ranks: int, require: "Require"
) -> None:
    env: dict[str, str] = {"DASK_RUNNER__TIMEOUT": str(SECONDS)}
    line = [str(DASK_RUNNER), "-n", str(ranks)]
    if launcher in FAMILIES:
        with require(f"the {FAMILIES[launcher]} wheel of the package index", "local"):
            runtime = mpi.runtime(FAMILIES[launcher])
        env |= runtime.environ({})
        line = [*runtime.mpiexec(ranks), str(DASK_RUNNER)]

    with Run((*line, "--nthreads", "1", "-c", CODE), env=env, timeout=SECONDS) as run:
        ended = run.wait()

    assert (ended.status, ended.stdout) == (0, f"{ranks}\n"), ended
    assert len(ended.stderr.splitlines()) <= MOST_LINES, ended


@pytest.mark.parametrize("ranks", SIZES)
def test_a_clean_run_on_the_cluster_is_silent(ranks: int, cluster: Any) -> None:
    options = f"-N2 -n{ranks}"

    with place_on(cluster) as jobs:
        done = jobs.srun(options, "-c", CODE, timeout=SECONDS).wait()

    assert (done.returncode, done.stdout) == (0, f"{ranks}\n"), told(done)
    assert len(done.stderr.splitlines()) <= MOST_LINES, told(done)
