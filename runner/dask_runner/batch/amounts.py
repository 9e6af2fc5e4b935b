"""Time and memory of a job: read as people write them, written as each system reads.

One text means minutes to one system and hours to another. So a user's text must be
plain, and each template says in which form its system wants the value.
"""

from __future__ import annotations

import math
import re

from dask_runner.launch.numbers import parse_size

#: What is valid, for messages.
TIME_IN_WORDS = "H:MM:SS, D-HH:MM:SS, or a number with its unit, such as 90m, 2h or 1d"
SIZE_IN_WORDS = 'a number of bytes with its unit, such as 64GiB or "64 GB"'

_CLOCK = re.compile(r"(?:(\d{1,4})-)?(\d{1,6}):(\d{1,2}):(\d{1,2})", re.ASCII)
_WITH_UNIT = re.compile(
    r"(\d{1,9}(?:\.\d{1,9})?) ?"
    r"(s|sec|seconds?|m|min|minutes?|h|hours?|d|days?)",
    re.ASCII | re.IGNORECASE,
)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
#: A job that is longer is a mistake.
_LONGEST = 10 * 365 * _DAY
_MIB = 1 << 20
#: More than any node has.
_LARGEST = 1 << 60


def parse_time(value: str | float) -> int:
    """Return the seconds of a duration; ValueError for what may be misread.

    A number is in seconds, as all numbers of Dask's configuration: YAML itself reads
    ``1:00:00`` as 3600. A text of digits alone is refused, because Slurm and LSF take
    it for minutes, PBS and Grid Engine for seconds.
    """
    seconds = float(value) if not isinstance(value, str) else _seconds(value.strip())
    if isinstance(value, bool) or not 1 <= seconds <= _LONGEST:
        raise ValueError(TIME_IN_WORDS)
    return math.ceil(seconds)


def _seconds(text: str) -> float:
    if clock := _CLOCK.fullmatch(text):
        days, hours, minutes, seconds = (int(part or 0) for part in clock.groups())
        if minutes < _MINUTE and seconds < _MINUTE:
            return days * _DAY + hours * _HOUR + minutes * _MINUTE + seconds
    if found := _WITH_UNIT.fullmatch(text):
        return float(found[1]) * _SECONDS[found[2][0].lower()]
    raise ValueError(TIME_IN_WORDS)


def parse_memory(value: str | float) -> int:
    """Return a number of bytes; ValueError for what may be misread.

    A text needs its unit, because Slurm takes a number for megabytes, and LSF for
    whatever its site has set.
    """
    try:
        size = _size(value)
    except (ValueError, OverflowError):
        size = 0
    if not _MIB <= size <= _LARGEST:
        raise ValueError(f"{SIZE_IN_WORDS}, and 1 MiB or more")
    return math.ceil(size)


def _size(value: str | float) -> float:
    if isinstance(value, str):
        return parse_size(value) if value.strip()[-1:].isalpha() else 0
    return 0 if isinstance(value, bool) else float(value)


def clock(seconds: int) -> str:
    """Return ``H:MM:SS``; the hours may be more than 24."""
    minutes, rest = divmod(seconds, _MINUTE)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def days_clock(seconds: int) -> str:
    """Return ``D-HH:MM:SS``, or ``H:MM:SS`` below a day."""
    days, rest = divmod(seconds, _DAY)
    return f"{days}-{clock(rest):0>8}" if days else clock(rest)


def hours_minutes(seconds: int) -> str:
    """Return ``H:MM``, rounded up to a minute."""
    minutes = math.ceil(seconds / _MINUTE)
    return f"{minutes // 60}:{minutes % 60:02}"


def mebibytes(size: float) -> int:
    """Return a size in MiB, rounded up to whole ones."""
    return math.ceil(size / _MIB)
