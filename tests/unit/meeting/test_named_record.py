"""The record of a running cluster under its name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dask_runner.meeting.named_record import NamedRecord
from dask_runner.meeting.record import BadRecordError
from tests.unit.records import NAMED, RECORD


def changed(**of_cluster: Any) -> str:
    values = json.loads(NAMED.dump())
    values["cluster"] |= of_cluster
    return json.dumps(values)


def test_it_is_read_as_it_was_written() -> None:
    assert NamedRecord.load(NAMED.dump()) == NAMED


def test_it_is_a_scheduler_file_of_dask_with_what_its_security_needs() -> None:
    values = json.loads(NAMED.at("tls://10.1.0.1:8786").dump())

    assert values["address"] == "tls://10.1.0.1:8786"
    assert values["security"] == {
        "require_encryption": True,
        "tls_ca_file": RECORD.certificate,
        "tls_client_cert": RECORD.certificate,
        "tls_client_key": RECORD.private_key,
    }


def test_it_has_no_address_until_there_is_a_scheduler() -> None:
    assert "address" not in json.loads(NAMED.dump())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (NAMED.dump()[:200], "is half-written or no record of ours"),
        (RECORD.dump(), "is the record of a launch, and not of a named cluster"),
        (changed(format=0), "is of another version of dask-runner (format 0, this"),
        (changed(format=None), "is of another version of dask-runner"),
        (changed(name=7), "has a wrong value for 'name'"),
        (changed(name="../x"), "has a wrong value for 'name'"),
        (changed(began="noon"), "has a wrong value for 'began'"),
        (changed(more=1), "is half-written or no record of ours"),
    ],
)
def test_what_is_not_one_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(BadRecordError) as error:
        NamedRecord.load(text)
    assert str(error.value).startswith(why)
