"""The key of added packages: equal where a resolution would have the same inputs.

What it is made from: the requirements, with all files that they name; the settings of
the resolver; the Python and its platform; and the packages that the image has.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from dask_runner.launch.settings import Requested
    from dask_runner.packages.installed import Installed

#: Changed when archives of an earlier version of this program must not be used.
_FORMAT = 1

#: Options of a line that name another file of lines, and places of packages.
_INCLUDES = ("-r", "--requirement", "-c", "--constraint")
_WHEELS = ("-f", "--find-links")
_SOURCES = ("-e", "--editable")

#: Directories whose contents are no part of a package.
_SKIPPED = frozenset({".git", "__pycache__", ".venv", "build"})


def key(
    inputs: Iterable[str],
    settings: Mapping[str, str],
    python: Iterable[str],
    packages: Iterable[Installed],
) -> str:
    """Return the key, as letters and digits."""
    told = [
        _FORMAT,
        sorted(inputs),
        sorted(settings.items()),
        list(python),
        sorted(one.pinned for one in packages),
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:40]


def inputs(
    requested: Requested, settings: Mapping[str, str], directory: Path
) -> tuple[str, ...]:
    """Return what the requirements are, and what the files are that they name.

    Parameters
    ----------
    requested : Requested
    settings : mapping
        The resolver's variables.
    directory : Path
        The working directory.

    Raises
    ------
    ConfigError
        If a file cannot be read.
    """
    found: dict[str, str] = {}
    for line in requested.lines:
        _read_line(line, directory, directory, found)
    for name in requested.files:
        _read_file(directory / name, directory, found)
    for variable in ("UV_CONSTRAINT", "UV_OVERRIDE", "UV_CONFIG_FILE"):
        for name in settings.get(variable, "").split():
            _read_file(directory / name, directory, found)
    for name in filter(None, settings.get("UV_FIND_LINKS", "").split(",")):
        _look_in(directory / name.removeprefix("file://"), found)
    # A name of a file is no content: the same lines elsewhere are the same packages.
    return tuple(found.values())


def _read_file(path: Path, directory: Path, found: dict[str, str]) -> None:
    if str(path) in found:
        return
    try:
        text = path.read_text()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(
            f"the requirements file {path} cannot be read: {why}",
            "a file with a requirement on each line",
            "correct --with-requirements; in a container, bind the file's directory",
        ) from error
    found[str(path)] = text
    for line in text.splitlines():
        _read_line(line, path.parent, directory, found)


def _read_line(line: str, beside: Path, directory: Path, found: dict[str, str]) -> None:
    """Note a line of requirements, and what it names.

    uv looks *beside* the file of the line for files that it includes and for
    directories of wheels, and in the working *directory* for packages.
    """
    found[f"{beside}\0{line}"] = line.strip()
    try:
        words = shlex.split(line.replace("=", " ", 1), comments=True)
    except ValueError:
        return  # the resolver will say what is wrong with it
    match words:
        case [option, name, *_] if option in _INCLUDES:
            _read_file(beside / name, directory, found)
        case [option, name, *_] if option in _WHEELS:
            _look_in(beside / name.removeprefix("file://"), found)
        case [option, name, *_] if option in _SOURCES:
            _look_in(directory / name.removeprefix("file://"), found)
        case [*_, "@", name] | [name]:
            _look_at(name, directory, found)


def _look_at(name: str, directory: Path, found: dict[str, str]) -> None:
    """Note how old a package is, if it is a local one."""
    name = name.removeprefix("file://").partition("[")[0]
    path = directory / name
    # "polars" is no path, whatever else has that name.
    if name and (os.sep in name or name.startswith(".") or path.is_file()):
        _look_in(path, found)


def _look_in(path: Path, found: dict[str, str]) -> None:
    """Note what is in a directory of packages; nothing where there is none."""
    found |= dict(_stamps(path))


def _stamps(path: Path) -> Iterator[tuple[str, str]]:
    try:
        if path.is_file():
            yield str(path), _stamp(path, path.name)
        for above, below, names in os.walk(path):
            below[:] = sorted(set(below) - _SKIPPED)
            for name in sorted(names):
                file = Path(above, name)
                yield str(file), _stamp(file, str(file.relative_to(path)))
    except OSError:
        return  # the resolver will say what is wrong with it


def _stamp(file: Path, name: str) -> str:
    found = file.stat()
    return f"{name} {found.st_size} {found.st_mtime_ns}"
