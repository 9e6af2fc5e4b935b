"""The table of the goals says what was reached, and what may be chance."""

from __future__ import annotations

import pytest

from ci.benchmarks.goals import Goal


def row(ours: list[float], theirs: list[float], limit: float, least: bool) -> list[str]:
    goal = Goal("a", (lambda _: ours, lambda _: theirs), limit, least)
    return [cell.strip() for cell in goal.row({}).strip("|").split("|")]


@pytest.mark.parametrize(
    ("ours", "least", "cells"),
    [
        ([1, 1, 1], False, ["a", "≤ 1 x", "0.50 ± 0.00 x", "reached"]),
        ([3, 3, 3], False, ["a", "≤ 1 x", "1.50 ± 0.00 x", "**missed**"]),
        ([3, 3, 3], True, ["a", "≥ 1 x", "1.50 ± 0.00 x", "reached"]),
        ([2, 2, 2], True, ["a", "≥ 1 x", "1.00 ± 0.00 x", "reached"]),
    ],
)
def test_a_goal_is_reached_by_the_share_of_medians(
    ours: list[float], least: bool, cells: list[str]
) -> None:
    assert row(ours, [1, 2, 9], 1, least)[3].startswith(cells[3])
    assert row(ours, [2, 2, 2], 1, least) == cells


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [
        ([1.0, 1.9, 2.8], "reached, within the noise"),
        ([1.2, 2.1, 3.0], "**missed**, within the noise"),
    ],
)
def test_a_limit_within_the_noise_is_told(ours: list[float], verdict: str) -> None:
    assert row(ours, [2.0, 2.0, 2.0], 1, least=False)[3] == verdict


@pytest.mark.parametrize(("ours", "theirs"), [([], [1.0]), ([1.0], [])])
def test_what_was_not_measured_is_neither(
    ours: list[float], theirs: list[float]
) -> None:
    assert row(ours, theirs, 1, least=False) == ["a", "≤ 1 x", "not measured", ""]


def test_the_same_runs_have_the_same_noise() -> None:
    runs = [1.0, 1.3, 1.1, 1.7], [2.0, 2.2, 2.9]
    assert row(*runs, 1, least=False) == row(*runs, 1, least=False)
