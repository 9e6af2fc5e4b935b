"""Values of any type that a message may have, for hypothesis."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from dask_runner.hub.messages import OfRank
from dask_runner.wire.message import Message

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
SIMPLE: dict[Any, st.SearchStrategy[Any]] = {
    Any: PLAIN,
    NoneType: st.none(),
    bool: st.booleans(),
    float: st.floats(allow_nan=False),
    int: st.integers(),
    str: st.text(),
}


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for values of that type."""
    if kind in SIMPLE:
        return SIMPLE[kind]
    if kind is Message:
        kinds = [one for one in Message.kinds.values() if one is not OfRank]
        return st.sampled_from(kinds).flatmap(values)
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return st.builds(
            kind, **{one.name: values(hints[one.name]) for one in fields(kind)}
        )
    inner = [values(one) for one in get_args(kind) if one is not ...]
    return {
        UnionType: lambda: st.one_of(inner),
        list: lambda: st.lists(inner[0], max_size=3),
        tuple: lambda: st.lists(inner[0], max_size=3).map(tuple),
        dict: lambda: st.dictionaries(st.text(), inner[-1], max_size=3),
    }[get_origin(kind)]()
