"""What the package cache has, and what resolves packages here, in words."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError
from dask_runner.packages import resolver
from dask_runner.packages.cache import UNUSED_SECONDS, Cache, Entry, place
from dask_runner.resources.amounts import in_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_DAY = 86400.0

#: Letters of a key that people tell archives apart by.
_SHORT = 8


def described(
    named: str | None, environ: Mapping[str, str]
) -> Iterator[tuple[str, str, str]]:
    """Yield names and values, each with its source.

    Parameters
    ----------
    named : str or None
        The cache that the user has named.
    environ : mapping
    """
    try:
        yield "resolver", resolver.find(environ, {}).command, "uv"
    except ConfigError as error:
        yield "resolver", "none", f"{error.do}"
    try:
        here = place(named, environ)
        entries = Cache(here).entries()
    except ConfigError as error:
        yield "cache", "none", error.saw
        return
    size = in_words(sum(entry.size for entry in entries))
    days = f"{UNUSED_SECONDS / _DAY:.0f} days"
    yield (
        "cache",
        str(here.path),
        f"{here.source}; {size}; what is not used for {days} goes; rm -r removes all",
    )
    for entry in entries:
        yield entry.path.stem[:_SHORT], _contents(entry), _use(entry)


def _contents(entry: Entry) -> str:
    if entry.manifest is None:
        return entry.trouble
    found = [f"{name} {version}" for name, version in entry.manifest.packages.items()]
    return ", ".join(found) or "nothing that the image has not"


def _use(entry: Entry) -> str:
    days = max(0, int((time.time() - entry.used) / _DAY))
    when = "today" if not days else f"{days} days ago" if days > 1 else "yesterday"
    return f"{in_words(entry.size)}, used {when}"
