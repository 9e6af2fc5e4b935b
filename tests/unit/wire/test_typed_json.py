"""Values of dataclasses arrive as they were, and nothing else does."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from dask_runner.launch.launch import Program
from dask_runner.wire.typed_json import read, write


@dataclass(frozen=True, slots=True)
class Inner:
    name: int | str
    parts: tuple[int, ...] = ()


@dataclass(frozen=True)
class Outer:
    inner: Inner
    others: list[Inner]
    perhaps: Inner | None
    seconds: float
    named: dict[str, tuple[str, ...]]
    deep: dict[str, list[list[int]]]
    any: dict[str, Any] = field(default_factory=dict)


OUTER = Outer(Inner("a", (1, 2)), [Inner(1)], None, 1.5, {"b": ("c",)}, {"d": [[1]]})
WRITTEN = {
    "inner": {"name": "a", "parts": [1, 2]},
    "others": [{"name": 1, "parts": []}],
    "perhaps": None,
    "seconds": 1.5,
    "named": {"b": ["c"]},
    "deep": {"d": [[1]]},
    "any": {},
}


def test_a_value_is_read_by_the_types_of_its_fields() -> None:
    assert read(Outer, WRITTEN) == OUTER


def test_a_whole_number_is_a_number() -> None:
    found = read(Outer, WRITTEN | {"seconds": 2})
    assert (found.seconds, type(found.seconds)) == (2.0, float)


@pytest.mark.parametrize(
    "wrong",
    [
        {"inner": None},
        {"inner": {"name": "a"}},
        {"inner": {"name": "a", "parts": [], "more": 1}},
        {"inner": {"name": None, "parts": []}},
        {"inner": {"name": True, "parts": []}},
        {"inner": {"name": "a", "parts": "12"}},
        {"inner": {"name": "a", "parts": {"1": 2}}},
        {"inner": {"name": "a", "parts": [1.0]}},
        {"inner": ["a", []]},
        {"others": {}},
        {"others": [None]},
        {"perhaps": {}},
        {"perhaps": 0},
        {"seconds": "1.5"},
        {"seconds": True},
        {"seconds": 10**400},
        {"named": []},
        {"named": {"b": "c"}},
        {"deep": {"d": [1]}},
        {"any": None},
        {"more": 1},
    ],
)
def test_another_type_anywhere_in_it_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((TypeError, OverflowError)):
        read(Outer, WRITTEN | wrong)


def test_a_field_that_is_missing_is_refused() -> None:
    with pytest.raises(TypeError):
        read(Outer, {"inner": WRITTEN["inner"]})


def test_what_is_ours_is_written_and_read_again() -> None:
    program = Program("script", "a.py", ("b",), (3, 4))
    assert read(Program, json.loads(write(program))) == program


def test_no_object_of_the_users_is_written_as_another() -> None:
    with pytest.raises(TypeError):
        write({"plugin": Inner("a")})
    with pytest.raises(TypeError):
        write({"bytes": b"a"})
