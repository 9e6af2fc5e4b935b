"""The keys of a report, by its schema: a table of docs/reference/report-schema.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.reports import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What stands behind the key of a list.
EACH = "[]"


def keys(told: Any, before: str = "") -> Iterator[str]:
    """Return the key of each value of a report; below a list, those of its items."""
    if isinstance(told, dict):
        for name, value in told.items():
            yield before + name
            yield from keys(value, f"{before}{name}.")
    elif isinstance(told, list):
        for one in told:
            yield from keys(one, f"{before.removesuffix('.')}{EACH}.")


def documented(part: Any = SCHEMA, before: str = "") -> Iterator[tuple[str, Any]]:
    """Return the key of each value that the schema knows, and what it says of it."""
    for name, about in part.get("properties", {}).items():
        yield before + name, about
        yield from documented(about, f"{before}{name}.")
        yield from documented(about.get("items", {}), f"{before}{name}{EACH}.")


def table() -> str:
    """Return the table."""
    lines = ["| key | type | unit | meaning |", "|---|---|---|---|"]
    for key, about in documented():
        kind, unit = _kind(about)
        lines.append(f"| `{key}` | {kind} | {unit} | {about['description']} |")
    return "\n".join(lines)


def _kind(about: Any) -> tuple[str, str]:
    """Return the type of a value in words, and its unit."""
    if "items" in about:
        kind, unit = _kind(about["items"])
        return f"list of {kind}", unit
    if "const" in about:
        return f"`{about['const']}`", ""
    if "enum" in about:
        return " or ".join(f"`{one}`" for one in about["enum"]), ""
    unit = about.get("$ref", "").rpartition("/")[2]
    types = SCHEMA["$defs"][unit]["type"] if unit else about["type"]
    named = [types] if isinstance(types, str) else types
    words = " or ".join(f"`{one}`" if one == "null" else one for one in named)
    return (about.get("format", words) if unit == "" else words), unit
