"""A notice as it is written, read and refused."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_runner.meeting.notice import BadNoticeError, NoNotices, Notice, OverError
from tests.unit.records import NOTICE


def test_a_notice_is_read_as_it_was_written_also_with_lines_behind_it() -> None:
    assert Notice.load(NOTICE.dump()) == NOTICE
    assert Notice.load(f"{NOTICE.dump()}0,2-3\n1\n") == NOTICE


@given(st.text())
def test_text_that_is_no_notice_is_refused(text: str) -> None:
    with pytest.raises(BadNoticeError):
        Notice.load(text)


@given(st.integers(0, len(NOTICE.dump()) - 1))
def test_a_notice_that_is_cut_anywhere_is_refused(end: int) -> None:
    with pytest.raises(BadNoticeError, match="half-written"):
        Notice.load(NOTICE.dump()[:end])


@given(
    st.sampled_from(sorted(asdict(NOTICE))),
    st.none() | st.lists(st.text()) | st.dictionaries(st.text(), st.text()),
)
def test_a_field_of_another_type_is_refused(name: str, value: object) -> None:
    with pytest.raises(BadNoticeError):
        Notice.load(json.dumps({**asdict(NOTICE), name: value}) + "\n")


@pytest.mark.parametrize(
    "change", [{"status": -1}, {"status": 256}, {"more": 1}, {"status": True}]
)
def test_a_notice_of_what_cannot_be_is_refused(
    change: dict[str, object],
) -> None:
    with pytest.raises(BadNoticeError):
        Notice.load(json.dumps(asdict(NOTICE) | change) + "\n")


def test_who_finds_a_notice_ends_with_its_cause_and_status() -> None:
    error = OverError(NOTICE)

    assert (error.status, error.saw) == (NOTICE.status, NOTICE.saw)


def test_where_no_notice_are_needed_none_is_left() -> None:
    notices = NoNotices()

    assert notices.leave(NOTICE) is None
    assert notices.find() is None
    assert not notices.signed()
