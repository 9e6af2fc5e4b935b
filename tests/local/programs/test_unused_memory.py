"""What becomes of memory that a worker's tasks have freed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.programs import SCRIPTS

if TYPE_CHECKING:
    from tests.running import DaskRunner

ARGS = ("-n", 1, "--quiet", "--nworkers", 1, "--nthreads", 4, "--memory-limit", "2GiB")
SCRIPT = SCRIPTS / "freed.py"


def test_it_is_there_for_the_next_task_and_goes_when_nothing_runs(
    dask_runner: DaskRunner,
) -> None:
    ended = dask_runner(*ARGS, SCRIPT, "0")
    assert (ended.status, ended.stdout) == (0, "keeps\ngives back\n"), ended


def test_it_goes_at_once_when_memory_is_short(dask_runner: DaskRunner) -> None:
    ended = dask_runner(*ARGS, SCRIPT, "1100")
    assert (ended.status, ended.stdout) == (0, "asks again\n"), ended


def test_a_user_may_have_it_as_dask_has_it(dask_runner: DaskRunner) -> None:
    env = {"MALLOC_TRIM_THRESHOLD_": "65536"}
    ended = dask_runner(*ARGS, SCRIPT, "0", env=env)
    assert (ended.status, ended.stdout) == (0, "asks again\n"), ended
