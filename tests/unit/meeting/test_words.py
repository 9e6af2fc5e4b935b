"""A last word as it is written, read and refused."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_runner.meeting.words import BadWordError, NoWords, OverError, Word
from tests.unit.records import WORD


def test_a_word_is_read_as_it_was_written_also_with_lines_behind_it() -> None:
    assert Word.load(WORD.dump()) == WORD
    assert Word.load(f"{WORD.dump()}0,2-3\n1\n") == WORD


@given(st.text())
def test_text_that_is_no_word_is_refused(text: str) -> None:
    with pytest.raises(BadWordError):
        Word.load(text)


@given(st.integers(0, len(WORD.dump()) - 1))
def test_a_word_that_is_cut_anywhere_is_refused(end: int) -> None:
    with pytest.raises(BadWordError, match="half-written"):
        Word.load(WORD.dump()[:end])


@given(
    st.sampled_from(sorted(asdict(WORD))),
    st.none() | st.lists(st.text()) | st.dictionaries(st.text(), st.text()),
)
def test_a_field_of_another_type_is_refused(name: str, value: object) -> None:
    with pytest.raises(BadWordError):
        Word.load(json.dumps({**asdict(WORD), name: value}) + "\n")


@pytest.mark.parametrize(
    "change", [{"status": -1}, {"status": 256}, {"more": 1}, {"status": True}]
)
def test_a_word_that_says_what_cannot_be_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(BadWordError):
        Word.load(json.dumps(asdict(WORD) | change) + "\n")


def test_who_finds_a_word_ends_with_its_cause_and_status() -> None:
    error = OverError(WORD)

    assert (error.status, error.saw) == (WORD.status, WORD.saw)


def test_where_no_words_are_needed_none_is_left() -> None:
    words = NoWords()

    assert words.leave(WORD) is None
    assert words.find() is None
    assert not words.signed()
