"""What becomes of memory that a worker's tasks have freed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.programs import SCRIPTS

if TYPE_CHECKING:
    from tests.running import DaskRunner

ARGS = ("-n", "1", "--quiet", "--memory-limit", "1GiB", SCRIPTS / "freed.py")


def test_it_is_there_for_the_next_task_and_goes_when_nothing_runs(
    dask_runner: DaskRunner,
) -> None:
    ended = dask_runner(*ARGS)
    assert (ended.status, ended.stdout) == (0, "keeps\ngives back\n"), ended


def test_a_user_may_have_it_as_dask_has_it(dask_runner: DaskRunner) -> None:
    ended = dask_runner(*ARGS, env={"MALLOC_TRIM_THRESHOLD_": "65536"})
    assert (ended.status, ended.stdout) == (0, "asks again\n"), ended
