"""The cluster directory: ``~/.dask-runner``, where each running cluster has a file.

A file has the record of a cluster under its name (:class:`.NamedRecord`), for as long
as the cluster lives. Whoever can read it is the owner. The custody of files is that of
:mod:`dask_runner.meeting.record_file`: a file that somebody else could have written or
read is refused.

Rank 0 refreshes the file's time every :data:`REFRESH_SECONDS`. A file that is older
than :data:`STALE_SECONDS`, and whose hub does not answer, belongs to a cluster that was
killed.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError
from dask_runner.meeting import record_directory, record_file
from dask_runner.meeting.named_record import NamedRecord
from dask_runner.meeting.record import BadRecordError
from dask_runner.meeting.record_directory import RECORDS

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Seconds between two refreshes of a file's time.
REFRESH_SECONDS = 20.0
#: Seconds after which a file that was not refreshed is of no use any more. An NFS
#: client may show times that are a minute old (acregmax in nfs(5)).
STALE_SECONDS = 120.0

# No key of a launch begins so (launch.key: a launcher's name comes first).
_PREFIX, _SUFFIX = "cluster-", ".json"


class NoDirectoryError(Exception):
    """There is no home directory in which clusters can be found; the text says why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of the cluster directory, and what was found in it.

    Attributes
    ----------
    name : str
        The cluster's name, by the name of the file.
    path : Path
    found : NamedRecord or None
        None if the file cannot be believed.
    trouble : str
        Why it cannot be believed.
    """

    name: str
    path: Path
    found: NamedRecord | None
    trouble: str = ""


def place(environ: Mapping[str, str]) -> Path:
    """Return the cluster directory, which may not exist.

    Raises
    ------
    NoDirectoryError
        If the user has no home directory.
    """
    home = environ.get("HOME", "")
    if not home:
        raise NoDirectoryError("HOME is not set")
    return Path(home) / RECORDS


def described(environ: Mapping[str, str]) -> tuple[str, str]:
    """Return the cluster directory, and whether a cluster started here has a name."""
    try:
        directory = place(environ)
    except NoDirectoryError as error:
        return "none", f"{error}: nothing can attach to a cluster"
    if not record_file.usable(directory):
        why = "cannot be written, or belongs to others: nothing can attach to a cluster"
        return str(directory), why
    return str(directory), "HOME"


def path_of(name: str, environ: Mapping[str, str]) -> Path:
    """Return the file of a cluster of that name.

    Raises
    ------
    NoDirectoryError
        If the user has no home directory.
    """
    return place(environ) / f"{_PREFIX}{name}{_SUFFIX}"


def entries(environ: Mapping[str, str]) -> list[Entry]:
    """Return all entries, in the order of their names.

    Raises
    ------
    ConfigError
        If the directory cannot be read, or somebody else could have made it.
    """
    try:
        directory = place(environ)
        with record_directory.opened(directory) as descriptor:
            names = os.listdir(descriptor)  # noqa: PTH208  a descriptor
    except FileNotFoundError:
        return []  # no cluster has run yet
    except NoDirectoryError as error:
        raise _unreadable(str(error)) from error
    except OSError as error:
        raise _unreadable(f"{directory}: {error.strerror}") from error
    except BadRecordError as error:
        raise _unreadable(f"{directory}/ {error}") from error
    files = sorted(
        name for name in names if name.startswith(_PREFIX) and name.endswith(_SUFFIX)
    )
    found = (entry(directory / name) for name in files)
    return [one for one in found if one is not None]


def _unreadable(saw: str) -> ConfigError:
    return ConfigError(
        f"the directory of running clusters cannot be read: {saw}",
        f"a home directory in which only you write ~/{RECORDS}",
        f"set HOME, or make ~/{RECORDS} a directory of yours (chmod 700)",
    )


def entry(path: Path) -> Entry | None:
    """Return what is in one of its files; None if it is gone."""
    name = path.name.removeprefix(_PREFIX).removesuffix(_SUFFIX)
    try:
        found = NamedRecord.load(record_file.read(path))
    except FileNotFoundError:
        return None  # the cluster has just ended
    except OSError as error:
        return Entry(name, path, None, f"cannot be read: {error.strerror}")
    except BadRecordError as error:
        return Entry(name, path, None, str(error))
    if found.name != name:
        return Entry(name, path, None, f"is of a cluster named {found.name!r}")
    return Entry(name, path, found)


# --- what rank 0 does --------------------------------------------------------


def claim(path: Path, named: NamedRecord) -> bool:
    """Write the file if there is none of its name; return whether it was written.

    Raises
    ------
    OSError, BadRecordError
        If it cannot be written.
    """
    return record_file.write_if_absent(path, named.dump(), named.record.nonce)


def rewrite(path: Path, named: NamedRecord) -> None:
    """Replace the file, which is ours.

    Raises
    ------
    OSError, BadRecordError
        If it cannot be written.
    """
    record_file.write(path, named.dump(), named.record.nonce)


def refresh(path: Path) -> None:
    """Set the file's time to now, as the file system's server has it.

    Raises
    ------
    OSError, BadRecordError
        If it is not there, or its directory is not ours.
    """
    with record_directory.opened(path.parent) as directory:
        os.utime(path.name, dir_fd=directory, follow_symlinks=False)


def age(path: Path) -> float:
    """Return the seconds since the file was refreshed; 0 if that cannot be seen."""
    try:
        return max(0.0, record_file.age(path))
    except (OSError, BadRecordError):
        return 0.0


def is_stale(age: float, *, gone: bool = False) -> bool:
    """Return whether the cluster of a file was killed: its hub does not answer.

    Parameters
    ----------
    age : float
        Seconds since the file was refreshed: of a cluster that is stopped or out of
        reach it may only be late.
    gone : bool
        Whether its host says that nothing of it listens there. That is enough for who
        wants the name. For a list it is not: another host may say so of an address
        that only the cluster's own node can reach.
    """
    return gone or age > STALE_SECONDS


def remove(path: Path, nonce: str) -> None:
    """Remove the file if it is still that of one cluster; do nothing if it is gone."""
    # It may be gone or replaced, or its directory may hold other records.
    with contextlib.suppress(OSError, BadRecordError):
        record_file.remove(path, lambda text: _nonce(text) == nonce)


def _nonce(text: str) -> str:
    return NamedRecord.load(text).record.nonce


def remove_of(nonce: str, environ: Mapping[str, str]) -> None:
    """Remove the file of a cluster whose rank 0 was killed, whatever its name."""
    with contextlib.suppress(ConfigError):  # then it is nowhere
        for one in entries(environ):
            if one.found is not None and one.found.record.nonce == nonce:
                remove(one.path, nonce)
    with contextlib.suppress(NoDirectoryError, OSError, BadRecordError):
        record_file.clear(path_of("", environ), nonce)
