"""A record as it is written, read and refused."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dask_runner.meeting.record import BadRecordError, Record, with_address
from tests.unit.records import RECORD


def test_a_record_is_read_as_it_was_written() -> None:
    assert Record.load(RECORD.dump()) == RECORD
    complete = with_address(RECORD, "tls://127.0.0.1:41000")
    assert Record.load(complete.dump()) == complete


def test_a_record_is_a_scheduler_file_of_dask_once_the_scheduler_is_up() -> None:
    assert "address" not in json.loads(RECORD.dump())
    complete = json.loads(with_address(RECORD, "tls://10.0.0.1:41000").dump())
    assert complete["address"] == "tls://10.0.0.1:41000"
    assert complete["type"] == "Scheduler"
    assert complete["id"].endswith(RECORD.nonce)


@given(st.text())
def test_text_that_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(BadRecordError):
        Record.load(text)


@given(st.integers(0, len(RECORD.dump()) - 1))
def test_a_record_that_is_cut_anywhere_is_refused(end: int) -> None:
    with pytest.raises(BadRecordError, match="half-written"):
        Record.load(RECORD.dump()[:end])


@given(
    st.sampled_from(sorted(asdict(RECORD))),
    st.none() | st.booleans() | st.floats() | st.lists(st.text()),
)
def test_a_field_of_another_type_is_refused(name: str, value: object) -> None:
    assume(type(value) is not type(getattr(RECORD, name)))
    with pytest.raises(BadRecordError):
        Record.load(json.dumps({"runner": {**asdict(RECORD), name: value}}))


@pytest.mark.parametrize(
    "change",
    [
        {"port": 0},
        {"port": 65536},
        {"port": -1},
        {"host": ""},
        {"host": "a" * 300},
        {"host": "evil.example.org"},
        {"more": 1},
    ],
)
def test_values_that_cannot_be_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(BadRecordError):
        Record.load(json.dumps({"runner": {**asdict(RECORD), **change}}))


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(BadRecordError):
        Record.load('{"runner":' * 100_000)
