"""The files of Dask's configuration: which there are, and which one set a value."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

#: Where a site's files are, and the variable that names another place for them.
SITE = "/etc/dask"
_VARIABLE_OF_SITE = "DASK_ROOT_CONFIG"

_SUFFIXES = (".yaml", ".yml", ".json")

# Set by each runtime in its containers, whichever image they run.
_IN_A_CONTAINER = ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER")


def with_content(environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield the files that say something, without loading Dask.

    Dask leaves copies of its defaults, commented out, in every home directory.
    """
    return filter(_has_content, _files(environ))


def of_site() -> list[Path]:
    """Return the site's files that say something, whatever a variable names."""
    return [path for path in _in(Path(SITE)) if _has_content(path)]


def described(environ: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield the rows of ``info``: each file that is read, and a site's that is not."""
    number = 0
    for number, path in enumerate(with_content(environ), 1):
        yield f"file {number}", str(path), "read; a later one counts before it"
    if not number:
        yield "files", "none", "no file of Dask's configuration says anything"
    site = Path(environ.get(_VARIABLE_OF_SITE, SITE))
    if not site.is_dir() and any(environ.get(name) for name in _IN_A_CONTAINER):
        why = "the host's is not seen in here, unless: apptainer run --bind"
        yield "site", f"no {site}", f"{why} {site}"


def setter(name: str, value: Any, files: Iterable[tuple[Path, Any]]) -> Path | None:
    """Return the file that gave an option below ``runner:`` its value.

    Parameters
    ----------
    name : str
        As Dask's configuration has it.
    value : Any
        What it has there.
    files : iterable of pairs
        Paths and what is in them, the one that counts most last.

    Returns
    -------
    Path or None
        None where no file has that value, because a program has set another.
    """
    found = None
    for path, content in files:
        section = content.get("runner") if isinstance(content, dict) else None
        if not isinstance(section, dict):
            continue
        for key, own in section.items():
            if str(key).replace("-", "_") == name.replace("-", "_"):
                found = path if own == value else None
    return found


def _files(environ: Mapping[str, str]) -> Iterator[Path]:
    # The directories of dask.config.paths.
    places = [
        environ.get(_VARIABLE_OF_SITE, SITE),
        f"{sys.prefix}/etc/dask",
        f"{environ.get('HOME') or '~'}/.config/dask",
        *filter(None, [environ.get("DASK_CONFIG")]),
    ]
    for place in map(Path, places):
        if place.suffix in _SUFFIXES:
            yield place
        yield from _in(place)


def _in(directory: Path) -> list[Path]:
    try:
        found = sorted(directory.expanduser().iterdir())
    except (OSError, RuntimeError):  # RuntimeError: a user without a home
        return []
    return [path for path in found if path.suffix in _SUFFIXES]


def _has_content(path: Path) -> bool:
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return False
    return any(line.strip() and not line.lstrip().startswith(b"#") for line in lines)
