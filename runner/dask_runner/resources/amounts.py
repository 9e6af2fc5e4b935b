"""Amounts of CPUs and memory: how they are read, divided and written."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from dask_runner.launch.numbers import parse_digits_or_none, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

T = TypeVar("T")

KIB, MIB, GIB = 2**10, 2**20, 2**30


def positive_number(text: str, name: str, warnings: list[str]) -> int | None:
    """Read a positive number; anything else is ignored with a warning.

    Parameters
    ----------
    text : str
        What a file or a variable said; "max" means no limit, silently.
    name : str
        Where it was read, for the warning.
    warnings : list of str
        Gets a warning, each only once.

    Returns
    -------
    int or None
    """
    if text == "max":
        return None
    if found := parse_digits_or_none(text):
        return found
    warning = f"{name} says {quoted(text)}: ignored"
    if warning not in warnings:
        warnings.append(warning)
    return None


def positive_variable(
    environ: Mapping[str, str], name: str, warnings: list[str]
) -> int | None:
    """Read a variable that should hold a positive number; None if it is not set."""
    text = environ.get(name)
    return None if text is None else positive_number(text, name, warnings)


def nth_part(things: Sequence[T], place: int, parts: int) -> Sequence[T]:
    """Cut a sequence into neighbouring parts, as equal as can be; return one."""
    size = len(things)
    return things[place * size // parts : (place + 1) * size // parts]


def nth_part_size(count: int, place: int, parts: int) -> int:
    """Return how many of *count* things such a part has."""
    return (place + 1) * count // parts - place * count // parts


def in_words(size: int) -> str:
    """Write a number of bytes as a person would: "1.5 GiB"."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} B"


def divided(words: str, ranks: int) -> str:
    """Add to a source how many ranks share what it gave."""
    return words if ranks == 1 else f"{words} / {ranks} ranks"
