"""The package cache: a directory that all nodes share, with an archive for each key.

An archive is written aside and then gets its name, which no other can take from it: so
a name means a whole archive, and the first of two jobs at once decides. Its time is
that of its last use. Whatever has not been used for a month goes when another is made.

In the user's own directory nobody else can write. Another one may be named, such as a
project's, where others can: an archive there counts only if it is this account's
(:mod:`dask_runner.packages.archive`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import socket
import stat
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from dask_runner.errors import ConfigError
from dask_runner.packages import archive

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Below the directory of caches.
_OWN = ("dask-runner", "packages")

_SUFFIX, _UNFINISHED = ".tar", ".part"

#: Seconds without use after which an archive is removed.
UNUSED_SECONDS = 30 * 86400.0
#: Seconds after which a part that nobody writes any more is removed.
STALE_SECONDS = 3600.0

_OTHERS_WRITE = 0o022

#: What a file system says that has no hard links.
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK})

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

_DO = "name another directory that all nodes share with --package-cache DIR"


@dataclass(frozen=True, slots=True)
class Place:
    """Where the cache is.

    Attributes
    ----------
    path : Path
    source : str
        What says so.
    named : bool
        Whether the user has named it.
    """

    path: Path
    source: str
    named: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """One archive of the cache.

    Attributes
    ----------
    path : Path
    size : int
        In bytes.
    used : float
        When it was last used, in seconds since 1970.
    manifest : Manifest or None
        None if it cannot be used.
    trouble : str
        Why it cannot be used.
    """

    path: Path
    size: int
    used: float
    manifest: archive.Manifest | None
    trouble: str = ""


def place(named: str | None, environ: Mapping[str, str]) -> Place:
    """Return where the cache is, which may not exist.

    Raises
    ------
    ConfigError
        If the user has no home directory, and has named none.
    """
    if named:
        # No shell expands "~" in a file or a variable.
        path = Path.cwd() / Path(named).expanduser()
        return Place(path, "--package-cache", named=True)
    for variable, *below in (("XDG_CACHE_HOME",), ("HOME", ".cache")):
        if above := environ.get(variable):
            return Place(Path(above, *below, *_OWN), variable, named=False)
    raise ConfigError("HOME is not set", "a directory for packages", _DO)


class Cache:
    """The cache at a place.

    Parameters
    ----------
    place : Place
    """

    def __init__(self, place: Place) -> None:
        self._place = place

    def path_of(self, key: str) -> Path:
        """Return the path of the archive of a key, which may not exist."""
        return self._place.path / f"{key}{_SUFFIX}"

    def prepare(self) -> None:
        """Make the directory.

        Raises
        ------
        ConfigError
            If it cannot be made, or if somebody else could have made it.
        """
        path = self._place.path
        try:
            path.parent.mkdir(0o700 if not self._place.named else 0o777, parents=True)
        except FileExistsError:
            pass
        except OSError as error:
            raise self._unusable(error) from error
        try:
            with contextlib.suppress(FileExistsError):
                path.mkdir(0o700)
            found = path.stat() if self._place.named else path.lstat()
        except OSError as error:
            raise self._unusable(error) from error
        if not stat.S_ISDIR(found.st_mode):
            raise self._refused("is no directory")
        if self._place.named:
            return
        if found.st_uid != os.geteuid():
            raise self._refused(f"belongs to uid {found.st_uid}")
        if (mode := stat.S_IMODE(found.st_mode)) & _OTHERS_WRITE:
            raise self._refused(f"can be written by others (mode {mode:04o})")

    def _unusable(self, error: OSError) -> ConfigError:
        return ConfigError(
            f"the package cache {self._place.path} ({self._place.source}) cannot be "
            f"used: {error.strerror}",
            "a directory in which the packages can be kept for all nodes",
            _DO,
        )

    def _refused(self, why: str) -> ConfigError:
        return ConfigError(
            f"the package cache {self._place.path} {why}",
            "a directory of your own, mode 0700",
            f"remove it, or {_DO}",
        )

    def find(self, key: str) -> archive.Manifest | None:
        """Return what the archive of a key is for, and note its use; None if none is.

        Raises
        ------
        ConfigError
            If there is one that cannot be used.
        """
        path = self.path_of(key)
        try:
            found = archive.manifest(path, key)
            # On a file system that is mounted read-only it counts as well.
            with contextlib.suppress(OSError):
                os.utime(path)
        except FileNotFoundError:
            return None
        except (archive.BadArchiveError, OSError) as error:
            raise unusable(path, error) from error
        return found

    @contextmanager
    def adding(self, key: str) -> Iterator[BinaryIO]:
        """Yield a file that becomes the archive of a key, unless another is faster.

        Raises
        ------
        ConfigError
            If it cannot be written.
        """
        who = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        part = self._place.path / f".{key}-{who}{_UNFINISHED}"
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            descriptor = os.open(part, flags, 0o600)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            with open(descriptor, "wb") as file:  # noqa: PTH123  a descriptor
                yield file
                file.flush()
                # A full disk, or a quota, may only be told of now.
                os.fsync(descriptor)
            _give_name(part, self.path_of(key))
        except OSError as error:
            if error.errno in _FULL:
                raise self._full(error) from error
            raise self._unusable(error) from error
        finally:
            with contextlib.suppress(OSError):
                part.unlink()

    def _full(self, error: OSError) -> ConfigError:
        return ConfigError(
            f"the packages do not fit into {self._place.path}: {error.strerror}",
            "room for them on a disk that all nodes share",
            f"remove what you do not need (rm -r {self._place.path}), or {_DO}",
        )

    def entries(self) -> list[Entry]:
        """Return all archives, the last used one first.

        Raises
        ------
        ConfigError
            If the directory cannot be read.
        """
        try:
            paths = [one for one in self._place.path.iterdir() if one.suffix == _SUFFIX]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._unusable(error) from error
        found = [entry for path in paths if (entry := _entry(path))]
        return sorted(found, key=lambda entry: -entry.used)

    def tidy(self, now: float | None = None) -> None:
        """Remove what has not been used for long, and parts that nobody writes."""
        now = time.time() if now is None else now
        limits = {_SUFFIX: UNUSED_SECONDS, _UNFINISHED: STALE_SECONDS}
        with contextlib.suppress(OSError):
            for path in self._place.path.iterdir():
                found = path.lstat()
                limit = limits.get(path.suffix)
                if found.st_uid != os.geteuid() or limit is None:
                    continue
                if stat.S_ISREG(found.st_mode) and now - found.st_mtime > limit:
                    path.unlink()


def _give_name(part: Path, path: Path) -> None:
    """Give a whole archive its name, unless another has it."""
    try:
        path.hardlink_to(part)
    except FileExistsError:
        return  # another job was faster
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if not path.exists():
            part.rename(path)


def _entry(path: Path) -> Entry | None:
    try:
        found = path.lstat()
    except OSError:
        return None  # it has just been removed
    manifest, trouble = None, ""
    try:
        manifest = archive.manifest(path)
    except archive.BadArchiveError as error:
        trouble = str(error)
    except OSError as error:
        trouble = f"cannot be read: {error.strerror}"
    return Entry(path, found.st_size, found.st_mtime, manifest, trouble)


def unusable(path: Path, error: archive.BadArchiveError | OSError) -> ConfigError:
    """Return the error about an archive that cannot be used."""
    why = f"cannot be read: {error.strerror}" if isinstance(error, OSError) else error
    return ConfigError(
        f"{path} {why}",
        "packages that this account has put there, whole, on a disk that this node "
        "has as well",
        f"remove it, so that it is made anew, or {_DO}",
    )
