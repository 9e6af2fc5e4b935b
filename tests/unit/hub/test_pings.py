"""How often signs of life are sent."""

from __future__ import annotations

import pytest

from dask_runner.hub.pings import (
    OUTSIDE_PING_SECONDS,
    OUTSIDE_SILENCE_SECONDS,
    between_pings,
)


@pytest.mark.parametrize(
    ("silence", "seconds"), [(3.0, 0.5), (30.0, 5.0), (60.0, 5.0), (3600.0, 5.0)]
)
def test_several_may_lack_before_one_counts_as_lost(
    silence: float, seconds: float
) -> None:
    assert between_pings(silence) == seconds


def test_so_they_may_to_a_process_outside_the_launch() -> None:
    assert OUTSIDE_SILENCE_SECONDS >= 6 * OUTSIDE_PING_SECONDS
