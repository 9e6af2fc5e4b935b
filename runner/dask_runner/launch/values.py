"""Functions that read the values of options, each with a sentence on what is valid."""

from __future__ import annotations

import functools
import re
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from dask_runner.launch.hosts import WORDS, Host, parse_hosts
from dask_runner.launch.numbers import MOST_DIGITS, MOST_RANKS, parse_limit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: A cluster's name is a part of a file's name, and is typed in a shell.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
NAME_IN_WORDS = "1 to 64 letters, digits, dots, - and _, the first a letter or digit"


def _needs(words: str) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """Have a function that reads a value say what is valid, whatever is wrong."""

    def give(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
        @functools.wraps(parse)
        def read(value: Any) -> Any:
            try:
                return parse(value)
            except (ValueError, TypeError, OverflowError):
                raise ValueError(words) from None

        return read

    return give


_NUMBER = f"a whole number from 1 to {MOST_RANKS}"


@_needs(_NUMBER)
def positive(text: str | float) -> int:
    """Read a whole number above 0."""
    # int() raises an error of another wording for a text of thousands of digits.
    number = int(text) if len(str(text)) <= MOST_DIGITS else 0
    if not 1 <= number <= MOST_RANKS or number != float(text):
        raise ValueError
    return number


@_needs(f"a whole number from 0 to {MOST_RANKS}")
def count(text: str | float) -> int:
    """Read a whole number, which may be 0."""
    return 0 if str(text) == "0" else positive(text)


@_needs("a number of seconds above 0")
def seconds(text: str | float) -> float:
    """Read a number of seconds."""
    number = float(text)
    if not 0 < number < 10 * 365 * 86400:
        raise ValueError
    return number


@_needs(f"auto, or {_NUMBER}")
def nworkers(text: str | int) -> Any:
    """Read a number of workers, or ``auto``."""
    return text if text == "auto" else positive(text)


@_needs(f"auto, or {_NUMBER}")
def size(text: str | int) -> Any:
    """Read a number of ranks, or ``auto``."""
    return text if text == "auto" else positive(text)


@_needs(WORDS)
def hosts(value: Any) -> list[Host]:
    """Read names of hosts."""
    return parse_hosts(value)


@_needs("tcp://HOST:PORT, with a port from 1 to 65535")
def meet(text: str) -> tuple[str, int]:
    """Read the address at which ranks meet."""
    scheme, _, place = str(text).partition("://")
    host, _, port = place.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError
    if scheme != "tcp" or not host or not (port.isascii() and port.isdigit()):
        raise ValueError
    if not 0 < int(port) < 1 << 16:
        raise ValueError
    return host, int(port)


#: Below are those for which a program needs root's rights.
_LEAST_PORT = 1024


@_needs(f"FIRST-LAST, ports from {_LEAST_PORT} to 65535, such as 20000-20999")
def ports(text: str | int) -> str:
    """Read a range of ports; one port is a range too."""
    first, dash, last = str(text).partition("-")
    ends = [first, last if dash else first]
    if not all(end.isascii() and end.isdigit() for end in ends):
        raise ValueError
    least, most = map(int, ends)
    if not _LEAST_PORT <= least <= most < 1 << 16:
        raise ValueError
    return f"{least}-{most}"


def limit(value: Any) -> Any:
    """Check a limit of memory, or ``auto``."""
    if value != "auto":
        parse_limit(value)
    return value


@_needs("true or false")
def flag(value: str | bool) -> bool:
    """Read a yes or no."""
    flags = {"true": True, "1": True, "false": False, "0": False}
    found = flags.get(str(value).lower())
    if found is None:
        raise ValueError
    return found


def choice(*names: str) -> Callable[[Any], str]:
    """Return a function that reads one of *names*."""

    @_needs(f"one of {', '.join(names)}")
    def parse(value: Any) -> str:
        if value not in names:
            raise ValueError
        return str(value)

    return parse


@_needs("names and numbers, such as GPU=2 MEM=10e9")
def resources(value: str | Mapping[str, float]) -> dict[str, float]:
    """Read the resources of a worker."""
    # dask worker's own form: "GPU=2 MEM=10e9"
    if not isinstance(value, str):
        return dict(value)
    pairs = [item.partition("=") for item in value.replace(",", " ").split()]
    if not all(name and number for name, _, number in pairs):
        raise ValueError
    return {name: float(number) for name, _, number in pairs}


@_needs("a name, or a list of names")
def strings(value: Any) -> list[str]:
    """Read one name or several."""
    return [value] if isinstance(value, str) else [str(item) for item in value]


@_needs("names of files")
def files(value: Any) -> list[str]:
    """Read one file's name or several."""
    found: list[str] = strings(value)
    if not all(found):
        raise ValueError
    return found


#: The kinds of reports, by the ends of their files.
REPORTS = (".html", ".json", ".svg")


@_needs(f"names of files that end in {' or '.join(REPORTS)}, at most one of each")
def reports(value: Any) -> list[str]:
    """Read the names of the files for reports."""
    found: list[str] = strings(value)
    kinds = [PurePath(name).suffix for name in found]
    if not set(kinds) <= set(REPORTS) or len(set(kinds)) != len(kinds):
        raise ValueError
    return found


#: A comma before the name of another package: in a version's limits (">=1,<2") none
#: comes before a letter, and the names of extras are in brackets.
_NEXT = re.compile(r",\s*(?=[A-Za-z])(?![^\[]*\])")


@_needs("packages, such as polars, 'scipy>=1.14' or ./local.whl")
def requirements(value: Any) -> list[str]:
    """Read packages as ``uv run --with`` does: several may be in one text."""
    found = [one.strip() for text in strings(value) for one in _NEXT.split(text)]
    # They become lines of a file, which may have options of the resolver as well.
    if not all(one and one.isprintable() and one[0] not in "-#" for one in found):
        raise ValueError
    return found


@_needs(NAME_IN_WORDS)
def cluster_name(text: str) -> str:
    """Read the name of a cluster."""
    if not NAME.fullmatch(text):
        raise ValueError
    return text


@_needs("names of modules, such as numpy,pandas")
def names(value: Any) -> list[str]:
    """Read names of modules."""
    names = value.split(",") if isinstance(value, str) else value
    found = [str(name).strip() for name in names if str(name).strip()]
    if not all(part.isidentifier() for name in found for part in name.split(".")):
        raise ValueError
    return found


@_needs("HOST:PORT, :PORT or PORT, such as 127.0.0.1:8787")
def address(value: Any) -> str:
    """Read where a server listens."""
    host, colon, port = str(value).rpartition(":")
    named = colon or port.isdigit()
    # A host alone gets a port of the system's choice.
    if named and not (port.isascii() and port.isdigit() and int(port) < 1 << 16):
        raise ValueError
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError
    return str(value)
