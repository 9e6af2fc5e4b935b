"""Read numbers that others have written, strictly."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: More ranks than any cluster has. A bigger number is a mistake, which would otherwise
#: fail later with a message that does not name it.
MOST_RANKS = 1_000_000

#: Digits of the largest number that the kernel writes (2**64 less one). Python itself
#: refuses to read more than 4300, with an error of its own.
MOST_DIGITS = 20

#: Characters of a wrong value that a message shows.
_SHOWN = 60

_UNITS = {"": 1, "b": 1} | {
    prefix + tail: base**power
    for base, tails in ((1000, ("", "b")), (1024, ("i", "ib")))
    for power, prefix in enumerate("kmgtp", 1)
    for tail in tails
}
_SIZE = re.compile(r"([+-]?[0-9.]*(?:e[+-]?[0-9]+)?)([a-z]*)", re.IGNORECASE)


def number_in(environ: Mapping[str, str], name: str, least: int) -> int:
    """Return the number in a variable.

    Parameters
    ----------
    environ : Mapping
    name : str
        A variable that is set.
    least : int
        The smallest valid number.

    Raises
    ------
    ConfigError
        When it holds no number, or one out of range.
    """
    text = environ[name]
    value = parse_digits_or_none(text)
    if value is None or not least <= value <= MOST_RANKS:
        raise ConfigError(
            f"{name} is {quoted(text)}" if text else f"{name} is empty",
            f"a number from {least} to {MOST_RANKS}",
            "start the ranks with their launcher, and leave its variables as they are;"
            " or add --launcher none for this machine alone",
        )
    return value


def parse_digits(text: str) -> int:
    """Return the number that a text of digits spells; ValueError for other texts."""
    # int() also takes signs, spaces, underscores and other alphabets' digits.
    if not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS):
        raise ValueError(f"no number: {quoted(text)}")
    return int(text)


def parse_digits_or_none(text: str) -> int | None:
    """Return the number that a text of digits spells; None for other texts."""
    try:
        return parse_digits(text)
    except ValueError:
        return None


def parse_size(text: str) -> float:
    """Read "4 GiB", "500MB", "1e9" or "2g" as Dask does; ValueError otherwise."""
    compact = text.replace(" ", "").lower()
    # "1e6" is a number, not 1 of a unit "e6".
    match = _SIZE.fullmatch(compact)
    if match is None or not compact or match[2] not in _UNITS:
        message = f"not a number of bytes: {text!r}"
        raise ValueError(message)
    unit: int = _UNITS[match[2]]
    return float(match[1] or 1) * unit


def parse_limit(value: str | float) -> float:
    """Read a limit of memory: bytes, or up to 1 a fraction; ValueError says what is."""
    try:
        size = parse_size(value) if isinstance(value, str) else float(value)
        if math.isfinite(size) and size >= 0:
            return size
    except (ValueError, TypeError, OverflowError):
        pass
    raise ValueError('auto, a size such as "4 GiB", a fraction up to 1, or 0 for none')


def quoted(value: object) -> str:
    """Return a value quoted for a message, cut short if it is very long."""
    try:
        text = repr(value)
    except ValueError:  # a number that Python does not write out
        return "an endless number"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
