"""What an agent begins with, as Dask has it."""

from __future__ import annotations

from typing import Any

from dask_runner.node.start_agent import AGENT_VARIABLES


def test_the_agent_begins_with_the_variables_that_dask_sets_for_workers() -> None:
    import dask.config  # noqa: PLC0415
    import distributed  # noqa: F401, PLC0415  its defaults

    wanted: dict[str, Any] = dask.config.get("distributed.nanny.pre-spawn-environ")
    malloc = "MALLOC_TRIM_THRESHOLD_"
    assert AGENT_VARIABLES[malloc] == str(wanted[malloc])
