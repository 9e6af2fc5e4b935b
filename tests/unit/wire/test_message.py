"""What is no message of ours is refused, whatever it is."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dask_runner.hub import messages as m
from dask_runner.hub import requests
from dask_runner.node import messages as of_a_node
from dask_runner.wire.message import Message, ProtocolError, decode, encode
from tests.unit.values import PLAIN, values

#: The modules that declare messages: what is imported is declared.
DECLARE = (m, requests, of_a_node)


def messages() -> st.SearchStrategy[Message]:
    return st.sampled_from(list(Message.kinds.values())).flatmap(values)


@given(messages())
def test_every_message_arrives_as_it_was_sent(message: Message) -> None:
    assert decode(encode(message)) == message


@given(st.binary())
@example(b"")
@example(b"\xff\xfe")
@example(b"[" * 100_000)
@example(b"9" * 5000)
def test_bytes_that_are_no_message_are_refused(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(payload)


@given(PLAIN)
def test_json_that_is_no_message_is_refused(value: object) -> None:
    with pytest.raises(ProtocolError):
        decode(json.dumps(value).encode())


@given(st.sampled_from(sorted(Message.kinds)), st.dictionaries(st.text(), PLAIN))
@example("Ping", {"text": "one too many"})
@example("Note", {})
def test_a_message_with_other_fields_is_refused(
    name: str, values: dict[str, object]
) -> None:
    if set(values) == {field.name for field in fields(Message.kinds[name])}:
        return
    with pytest.raises(ProtocolError):
        decode(json.dumps([name, values]).encode())


@pytest.mark.parametrize(
    "text",
    [
        '["ClientEnded", {"status": true, "said": ""}]',
        '["ClientEnded", {"status": "1", "said": ""}]',
        '["ClientEnded", {"status": 1.0, "said": ""}]',
        '["ClientEnded", {"status": 1, "said": null}]',
        '["ClientEnded", {"status": 1}]',
        '["WorkersUp", {"names": "ab", "nthreads": 1, "memory": 0}]',
        '["WorkersUp", {"names": [1], "nthreads": 1, "memory": 0}]',
        '["OfRank", {"rank": 1, "message": "Ping"}]',
        '["OfRank", {"rank": 1, "message": ["Ping", {"rank": 1}]}]',
        '["OfRank", {"rank": true, "message": ["Ping", {}]}]',
        '["Starts", {"address": "", "starting": [true], "here": [], "leader": 1, \
"masks": []}]',
        '["Message", {}]',
        '["__class__", {}]',
        '["Ping", {}, 1]',
        '[["Ping"], {}]',
        '["Ping", []]',
    ],
)
def test_a_field_of_another_type_is_refused(text: str) -> None:
    with pytest.raises(ProtocolError):
        decode(text.encode())


def test_what_was_refused_is_shown_but_not_all_of_it() -> None:
    with pytest.raises(ProtocolError) as caught:
        decode(b"x" * 10_000)
    assert len(str(caught.value)) < 100


def test_all_messages_are_among_those_that_are_tried() -> None:
    assert {module.__name__ for module in DECLARE} <= {
        kind.__module__ for kind in Message.kinds.values()
    }


def test_a_message_without_fields_is_short() -> None:
    assert len(encode(m.Ping())) < 20
