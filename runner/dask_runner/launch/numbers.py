"""Read numbers that others have written, strictly."""

from __future__ import annotations

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


def quoted(value: object) -> str:
    """Return a value quoted for a message, cut short if it is very long."""
    try:
        text = repr(value)
    except ValueError:  # a number that Python does not write out
        return "an endless number"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
