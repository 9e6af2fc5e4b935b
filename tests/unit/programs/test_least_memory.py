"""A worker that Dask would kill as it begins is an error, and not a hang."""

from __future__ import annotations

import dask
import distributed  # noqa: F401  it has the setting
import pytest

from dask_runner.errors import ConfigError
from dask_runner.programs.least_memory import refuse_less
from dask_runner.resources.usage import own_memory


def test_what_a_worker_has_as_it_begins_is_not_enough() -> None:
    with pytest.raises(ConfigError, match="of memory for a worker") as caught:
        refuse_less([2**40, own_memory()])
    assert "--nworkers" in caught.value.do


def test_no_limit_is_enough() -> None:
    refuse_less([0, 2**40])
    refuse_less([])


def test_where_nothing_is_killed_any_limit_will_do() -> None:
    with dask.config.set({"distributed.worker.memory.terminate": False}):
        refuse_less([1])
