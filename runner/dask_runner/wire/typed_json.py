"""Dataclasses as JSON, and back: a value has exactly the types that its fields have.

The types may be plain ones, dataclasses of this package, ``list[X]``,
``tuple[X, ...]``, ``dict[str, X]``, unions of these, and ``Any``. Where a class has a
table ``kinds`` of its subclasses, by name, any of these will do, and has its name with
it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache, partial
from types import UnionType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
Reader = Callable[[Any], Any]

PACKAGE = __name__.partition(".")[0]


def write(value: Any) -> str:
    """Write a value, and the dataclasses in it."""
    return json.dumps(value, default=_plain)


def _plain(value: Any) -> Any:
    # A user's object among Dask's options would arrive as something else.
    if not type(value).__module__.startswith(f"{PACKAGE}."):
        raise TypeError(f"not a value that JSON has: {value!r:.60}")
    plain = {one.name: getattr(value, one.name) for one in fields(value)}
    return [type(value).__name__, plain] if hasattr(value, "kinds") else plain


def read(kind: type[T], value: object) -> T:
    """Return what JSON has as a value of the type.

    Raises
    ------
    TypeError, ValueError
        If it is of another one.
    """
    reader: Reader = _reader(cast("Any", kind))
    return cast("T", reader(value))


@cache
def _reader(kind: Any) -> Reader:
    make, origin = cast("Callable[..., Any]", kind), get_origin(kind)
    inner = [_reader(one) for one in get_args(kind) if one is not ...]
    if "kinds" in getattr(kind, "__dict__", {}):
        return partial(_named, kind.kinds)
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        readers = {one.name: _reader(hints[one.name]) for one in fields(kind)}
        return partial(_object, make, readers)
    if origin is UnionType:
        return partial(_one_of, inner)
    if origin in (list, tuple):
        return partial(_sequence, origin, inner[0])
    if origin is dict:
        return partial(_mapping, inner[1])
    return SPECIAL.get(kind) or partial(_exactly, kind)


def _object(make: Callable[..., Any], readers: dict[str, Reader], value: Any) -> Any:
    if _exactly(dict, value).keys() != readers.keys():
        raise TypeError(f"other fields: {', '.join(value):.60}")
    return make(**{name: reader(value[name]) for name, reader in readers.items()})


def _named(kinds: Mapping[str, type], value: Any) -> Any:
    name, plain = _exactly(list, value)
    return _reader(kinds[name])(plain)


def _one_of(readers: list[Reader], value: Any) -> Any:
    for reader in readers:
        try:
            return reader(value)
        except (TypeError, ValueError):
            continue
    raise TypeError(f"of none of the types: {value!r:.60}")


def _sequence(kind: Reader, reader: Reader, value: Any) -> Any:
    return kind(map(reader, _exactly(list, value)))


def _mapping(reader: Reader, value: Any) -> Any:
    return {name: reader(one) for name, one in _exactly(dict, value).items()}


def _exactly(kind: type, value: Any) -> Any:
    # bool is an int to isinstance.
    if type(value) is not kind:
        raise TypeError(f"not {kind.__name__}: {value!r:.60}")
    return value


def _number(value: Any) -> float:
    return float(value if type(value) is int else _exactly(float, value))


#: Types whose values are not all of exactly that type.
SPECIAL: dict[Any, Reader] = {Any: lambda value: value, float: _number}
