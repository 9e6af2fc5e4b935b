"""Time and memory of a job: what people write, and what each system reads."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_runner.batch import amounts

MINUTE, HOUR, DAY = 60, 3600, 86400


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1:00:00", HOUR),
        ("00:30:00", 30 * MINUTE),
        ("100:00:01", 100 * HOUR + 1),
        ("2-12:00:00", 2 * DAY + 12 * HOUR),
        ("90m", 90 * MINUTE),
        ("1.5h", 90 * MINUTE),
        ("1 d", DAY),
        ("2 days", 2 * DAY),
        ("30s", 30),
        (3600, HOUR),
        (0.5 * HOUR, 30 * MINUTE),
    ],
)
def test_a_time_is_read(text: str | float, seconds: int) -> None:
    assert amounts.parse_time(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *("30", "1:00", "1:60:00", "1:00:60", "", "0s", "-1h", "h", "1e3s", "1 week"),
        *("1:00:00\n$(x)", "\u0661h", True, 0, float("inf"), float("nan"), 1e12),
    ],
)
def test_a_time_that_may_be_misread_is_refused(text: str | float) -> None:
    with pytest.raises(ValueError, match=re.escape(amounts.TIME_IN_WORDS)):
        amounts.parse_time(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("64GiB", 64 << 30), ("64 GB", 64 * 10**9), ("512m", 512 * 10**6), (1 << 30,) * 2],
)
def test_memory_is_read(text: str | float, size: int) -> None:
    assert amounts.parse_memory(text) == size


@pytest.mark.parametrize(
    "text", ["64", "1e9", "", "GB;x", "1kB", "inf GB", "9" * 30 + "GB", True, -1, 0]
)
def test_memory_without_its_unit_is_refused(text: str | float) -> None:
    with pytest.raises(ValueError, match="with its unit"):
        amounts.parse_memory(text)


@given(st.integers(1, 10 * 365 * DAY))
def test_each_form_means_the_time_that_it_is_made_of(seconds: int) -> None:
    assert amounts.parse_time(amounts.clock(seconds)) == seconds
    assert amounts.parse_time(amounts.days_clock(seconds)) == seconds
    hours, minutes = map(int, amounts.hours_minutes(seconds).split(":"))
    assert minutes < MINUTE
    # LSF has no seconds, and a job must not end before its time.
    assert 0 <= hours * HOUR + minutes * MINUTE - seconds < MINUTE


def test_the_forms_are_those_of_the_systems() -> None:
    assert amounts.clock(DAY + 61) == "24:01:01"
    assert amounts.days_clock(DAY + 61) == "1-00:01:01"
    assert amounts.days_clock(61) == "0:01:01"
    assert amounts.hours_minutes(61) == "0:02"
    assert amounts.mebibytes(10**9) == 954
