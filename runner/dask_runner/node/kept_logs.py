"""Logs in a directory that the user names, which stay there (``--log-directory``).

The rank makes each file before the process that writes it begins: a new one, for nobody
else, in a directory where nobody else can put another in its place. The log in the
rank's private directory is then a link to it, so that all that write and read it are
the same with and without.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from dask_runner.errors import ConfigError
from dask_runner.resources import private_directory

#: Files of one process that may be there from before.
MOST = 10_000

#: What a process's name cannot have in a file's.
_NOT_IN_NAMES = str.maketrans({"/": "_", "\0": "_"})

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class KeptLogs:
    """Makes the files.

    Parameters
    ----------
    directory : str
        As the user names it, with ``{job_id}`` and ``{worker}``.
    job_id : str
        The job's; empty for none.
    """

    def __init__(self, directory: str, job_id: str) -> None:
        self._directory = directory.replace("{job_id}", job_id or "local")

    def make(self, process: str, name: str) -> Path:
        """Make a new file; return its path.

        Parameters
        ----------
        process : str
            What is put in place of ``{worker}``.
        name : str
            The file's, without suffix. If there is one, the new one has a number.

        Raises
        ------
        ConfigError
            If there is no place for it that is the user's alone to change.
        """
        process, name = (one.translate(_NOT_IN_NAMES) for one in (process, name))
        where = Path(self._directory.replace("{worker}", process))
        try:
            where = where.expanduser().absolute()
            _make_private(where)
            if why := _others_may_change(where):
                raise ConfigError(
                    f"other accounts may replace the logs in {where}: {why}",
                    "a directory in which nobody else renames your files",
                    "name another one with --log-directory DIR",
                )
            return where / _new(where, name)
        except (OSError, RuntimeError) as error:  # RuntimeError: nobody's home
            text = error.strerror if isinstance(error, OSError) else str(error)
            raise ConfigError(
                f"no log can be made in {where}: {text}",
                "a directory that you may write, on each node",
                "name another one with --log-directory DIR",
            ) from error


def _make_private(where: Path) -> None:
    """Make a directory, and those above it, as far as they are missing."""
    for one in reversed([where, *where.parents]):
        # Another rank may be faster.
        if not one.exists():
            one.mkdir(mode=0o700, exist_ok=True)


def _others_may_change(where: Path) -> str:
    """Return why others may; empty if they may not."""
    for one in (where, *where.parents):
        found = one.lstat()
        if stat.S_ISLNK(found.st_mode) and found.st_uid not in {0, os.geteuid()}:
            return f"{one} is a link of uid {found.st_uid}"
    return private_directory.exposure(where)


def _new(where: Path, name: str) -> str:
    """Make a file of a name that is free; return the name."""
    directory = os.open(where, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for number in range(1, MOST + 1):
            free = f"{name}.log" if number == 1 else f"{name}.{number}.log"
            try:
                os.close(os.open(free, _NEW, 0o600, dir_fd=directory))
            except FileExistsError:
                continue
            return free
    finally:
        os.close(directory)
    raise FileExistsError(0, f"{MOST} files of {name} are there")
