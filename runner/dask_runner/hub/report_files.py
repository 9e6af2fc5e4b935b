"""The files of ``--report``: where they go, and how they are written.

A file is written without a name, gets one beside its place and is moved there. So a
reader never sees a half one, a process that is killed leaves none, and nothing is
opened that another account has laid there. Whether that is possible is tried at the
start, not found out at the end.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError
from dask_runner.resources.private_directory import strangers_link

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: The files that the hub writes, by their ends; the client writes Dask's own.
OURS = (".json", ".svg")

#: How a file system says that its files have names (open(2), O_TMPFILE).
_NAMES_ALL = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL)
#: Seconds after which nobody writes a file any more that has a name aside.
LEFT_SECONDS = 60.0


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
        try:
            if self.path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "it is a directory")
            _refuse_anothers(self.path)
            with _opened(self.path.parent) as folder:
                aside = self._aside()
                os.close(_create(aside, folder))
                os.unlink(aside, dir_fd=folder)
        except OSError as error:
            raise ConfigError(
                f"--report {self.path} cannot be written: {error.strerror}",
                f"a file that this user can make and replace in {self.path.parent}",
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
        with (
            self.replaced() as descriptor,
            open(descriptor, "w", encoding="utf-8", closefd=False) as file,
        ):
            file.write(text)

    @contextlib.contextmanager
    def replaced(self) -> Iterator[int]:
        """Put a file that the body writes in the place of an earlier one.

        Yields
        ------
        int
            The descriptor of the new one.

        Raises
        ------
        OSError
            If that fails; then the earlier one is as it was.
        """
        with _opened(self.path.parent) as folder:
            aside = self._aside()
            descriptor, named = self._new(folder, aside)
            try:
                yield descriptor
                if not named:
                    source = f"/proc/self/fd/{descriptor}"
                    # The source is absolute. With a directory Python calls linkat(2),
                    # which follows this link as link(2) does not.
                    os.link(source, aside, src_dir_fd=folder, dst_dir_fd=folder)
                    named = True
                os.replace(aside, self.path.name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                if named:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(aside, dir_fd=folder)
                raise
            finally:
                os.close(descriptor)

    def _new(self, folder: int, aside: str) -> tuple[int, bool]:
        """Return the descriptor of a new file, and whether it has the name aside."""
        flags = os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC
        try:
            return os.open(f"/proc/self/fd/{folder}", flags, 0o666), False
        except OSError as error:
            if error.errno not in _NAMES_ALL:
                raise
        self._clear(folder)
        return _create(aside, folder), True

    def _clear(self, folder: int) -> None:
        """Remove what a process that was killed has left aside."""
        pattern = re.compile(rf"\.{re.escape(self.path.name)}\.[0-9a-f]{{16}}")
        for name in filter(pattern.fullmatch, os.listdir(folder)):
            with contextlib.suppress(OSError):  # it is gone, or cannot be removed
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                age = time.time() - found.st_mtime
                if found.st_uid == os.geteuid() and age > LEFT_SECONDS:
                    os.unlink(name, dir_fd=folder)

    def _aside(self) -> str:
        # A name that nobody can guess, and take in a directory that others can write.
        return f".{self.path.name}.{secrets.token_hex(8)}"


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


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """Open a directory, but through no link that another account has laid."""
    if link := strangers_link(folder):
        raise PermissionError(errno.EPERM, f"{link} is a link of another account")
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _create(name: str, folder: int) -> int:
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
    return os.open(name, flags, 0o666, dir_fd=folder)


def _refuse_anothers(path: Path) -> None:
    """Refuse the file of another account that this one may not replace."""
    try:
        there, folder = path.lstat(), path.parent.stat()
    except FileNotFoundError:
        return
    mine = os.geteuid() in (there.st_uid, folder.st_uid, 0)
    if folder.st_mode & stat.S_ISVTX and not mine:
        raise PermissionError(
            errno.EPERM, "another account has a file of that name there"
        )
