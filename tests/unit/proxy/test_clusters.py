"""What the list of clusters says about each."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from dask_runner.proxy.clusters import in_short
from tests.unit.records import STATE


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "4 workers"),
        ({"workers": 1, "dashboard": False}, "1 worker, no dashboard"),
        ({"ready": False}, "starting"),
        ({"ending": True}, "ends now"),
    ],
)
def test_the_state_of_a_cluster_is_told_in_short(
    changes: dict[str, object], words: str
) -> None:
    assert in_short(replace(STATE, **changes)) == words  # type: ignore[arg-type]


def test_a_cluster_tells_when_its_job_ends() -> None:
    state = replace(STATE, ends_at=time.time() + 7261)
    assert in_short(state) == "4 workers; its job ends in 2 h 1 min"
