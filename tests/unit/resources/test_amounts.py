"""Amounts as files and variables say them, and how they are divided."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_runner.resources.amounts import (
    divided,
    in_words,
    nth_part,
    nth_part_size,
    positive_number,
    positive_variable,
)
from tests.unit.machines import GIB, MIB


@pytest.mark.parametrize(
    ("text", "number", "warnings"),
    [
        ("8", 8, []),
        ("max", None, []),
        ("0", None, ["cpu.max says '0': ignored"]),
        ("-1", None, ["cpu.max says '-1': ignored"]),
        ("many", None, ["cpu.max says 'many': ignored"]),
    ],
)
def test_what_is_no_positive_number_is_ignored_with_a_warning(
    text: str, number: int | None, warnings: list[str]
) -> None:
    told: list[str] = []

    assert positive_number(text, "cpu.max", told) == number
    assert told == warnings


def test_the_same_warning_is_given_once() -> None:
    told: list[str] = []
    for _ in range(2):
        positive_number("x", "cpu.max", told)

    assert len(told) == 1


def test_a_variable_that_is_not_set_is_no_reason_for_a_warning() -> None:
    told: list[str] = []

    assert positive_variable({}, "NAME", told) is None
    assert positive_variable({"NAME": "3"}, "NAME", told) == 3
    assert told == []


@given(st.lists(st.integers(), max_size=50), st.integers(1, 60))
def test_parts_are_all_there_is_and_as_equal_as_can_be(
    things: list[int], parts: int
) -> None:
    cut = [nth_part(things, place, parts) for place in range(parts)]
    sizes = [len(part) for part in cut]

    assert [thing for part in cut for thing in part] == things
    assert max(sizes) - min(sizes) <= 1
    assert sizes == [nth_part_size(len(things), place, parts) for place in range(parts)]


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (3 * GIB // 2, "1.5 GiB")],
)
def test_a_size_is_written_as_a_person_would(size: int, words: str) -> None:
    assert in_words(size) == words
    assert in_words(MIB) == "1.0 MiB"


def test_a_source_says_how_many_ranks_share_it() -> None:
    assert divided("the node", 1) == "the node"
    assert divided("the node", 4) == "the node / 4 ranks"
