"""Numbers in a launcher's variables: read strictly, refused with their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: More ranks than there are nodes and cores worth giving to Dask: a bigger
#: number is a mistake that would otherwise fail late and strangely.
MOST_RANKS = 1_000_000


def count(environ: Mapping[str, str], name: str, least: int) -> int:
    """Return the number that a variable holds.

    Parameters
    ----------
    environ : Mapping
    name : str
        A variable that is set.
    least : int
        The smallest number that makes sense.

    Raises
    ------
    ConfigError
        When it holds no number, or one that makes no sense.
    """
    text = environ[name]
    try:
        value = digits(text)
    except ValueError:
        value = -1
    if not least <= value <= MOST_RANKS:
        raise ConfigError(
            f"{name} is {text!r}" if text else f"{name} is empty",
            f"a number from {least} to {MOST_RANKS}",
            "start the ranks with their launcher, and leave its variables as they are;"
            " or --launcher none for this machine alone",
        )
    return value


def digits(text: str) -> int:
    """Return the number that a text of digits spells; ValueError if it is none."""
    # int() also takes signs, spaces, underscores and other alphabets' digits.
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"no number: {text!r}")
    return int(text)
