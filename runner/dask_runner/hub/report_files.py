"""The files of ``--report``: where they go, and how they are written.

A file is written beside its place and moved there, so that a reader never sees a half
one. Whether that is possible is tried at the start, not found out at the end.
"""

from __future__ import annotations

import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The files that the hub writes, by their ends; the client writes Dask's own.
OURS = (".json", ".svg")


@dataclass(frozen=True)
class ReportFile:
    """One file of a report.

    Attributes
    ----------
    path : Path
    kind : str
        Its end, such as ".json".
    """

    path: Path
    kind: str

    def check(self) -> None:
        """Try whether the file can be written.

        Raises
        ------
        ConfigError
            If it cannot.
        """
        folder = self.path.parent
        try:
            if self.path.is_dir():
                raise IsADirectoryError(21, "it is a directory")
            _refuse_anothers(self.path)
            aside = self._aside()
            os.close(_create(aside))
            aside.unlink()
        except OSError as error:
            raise ConfigError(
                f"--report {self.path} cannot be written: {error.strerror}",
                f"a file that this user can make and replace in {folder}",
                "name another directory, or make this one; in a container, bind it "
                "(apptainer run --bind)",
            ) from error

    def write(self, text: str) -> None:
        """Write the file, in the place of an earlier one.

        Raises
        ------
        OSError
            If that fails; then the earlier one is as it was.
        """
        aside = self._aside()
        try:
            with open(_create(aside), "w", encoding="utf-8") as file:
                file.write(text)
            aside.replace(self.path)
        except OSError:
            aside.unlink(missing_ok=True)
            raise

    def _aside(self) -> Path:
        # A name that nobody can guess, and take in a directory that others can write.
        return self.path.with_name(f".{self.path.name}.{secrets.token_hex(8)}")


def ours(paths: Iterable[str], job_id: str) -> tuple[ReportFile, ...]:
    """Return the files that the hub writes."""
    return tuple(
        ReportFile(path, path.suffix)
        for name in paths
        if (path := Path(placed(name, job_id)).absolute()).suffix in OURS
    )


def dasks(paths: Iterable[str], job_id: str) -> str | None:
    """Return the file of Dask's own report; None if there is none."""
    names = [placed(name, job_id) for name in paths]
    return next((name for name in names if Path(name).suffix not in OURS), None)


def placed(name: str, job_id: str) -> str:
    """Return the name of a file with the number of the job in it."""
    return name.replace("{job_id}", job_id)


def _create(path: Path) -> int:
    return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666)


def _refuse_anothers(path: Path) -> None:
    """Refuse the file of another account that this one may not replace."""
    try:
        there, folder = path.lstat(), path.parent.stat()
    except FileNotFoundError:
        return
    mine = os.geteuid() in (there.st_uid, folder.st_uid, 0)
    if folder.st_mode & stat.S_ISVTX and not mine:
        raise PermissionError(1, "another account has a file of that name there")
