"""A file system as a process would see it whose root it is."""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import stat
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from dask_runner.mpi.abi import elf
from dask_runner.mpi.abi.files import Disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dask_runner.mpi.abi.elf import ELF, Symbols
    from dask_runner.mpi.abi.files import Files

#: Bytes of a text that is read: Slurm's configuration of the largest sites has some
#: hundred kilobytes.
MOST_TEXT = 4 << 20

#: Bytes of a library that is read: the largest that MPI is linked to (NCCL) has half.
MOST_DATA = 1 << 30

#: Paths that one pattern may match. Links in a circle make endlessly many.
MOST_FOUND = 10_000

#: Levels of files that include others in the loader's configuration: one is usual.
MOST_INCLUDES = 8

#: Lines in the report on what could not be read.
MOST_NOTES = 20

# As many as the kernel follows (path_resolution(7)).
_LINKS = 40

_WILD = re.compile(r"[*?\[]")

# The loader's own, in the layouts of Debian, Red Hat and SUSE.
_DEFAULT_LIBRARIES = (
    "/lib/*-linux-gnu*",
    "/usr/lib/*-linux-gnu*",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
)


def resolve(files: Files, path: str) -> str | None:
    """Return where a path leads inside, there or not; None for endless links."""
    todo = [part for part in path.split("/") if part][::-1]
    done: list[str] = []
    links = 0
    while todo:
        part = todo.pop()
        if part in {".", ".."}:
            if part == ".." and done:
                done.pop()
            continue
        target = files.target("/".join(("", *done, part)))
        if target is None:
            # No link, or not there; whether it can be read shows when it is.
            done.append(part)
            continue
        links += 1
        if links > _LINKS:
            return None
        if target.startswith("/"):
            done = []
        todo += [part for part in target.split("/") if part][::-1]
    return "/" + "/".join(done)


class Root:
    """Paths as they are inside, wherever the files are.

    Links are followed inside: an absolute one in an image that lies unpacked in
    a directory leads to that image's file and not to the machine's.

    Parameters
    ----------
    files : Path or Files
        A directory, ``/`` for the machine itself; or another place of files.
    """

    def __init__(self, files: Path | Files) -> None:
        self.files: Files = Disk(files) if isinstance(files, Path) else files
        #: What could not be read, for the report.
        self.unread: list[str] = []
        self._elf: dict[str, ELF] = {}

    def __str__(self) -> str:
        return str(self.files)

    def real(self, path: str) -> str | None:
        """Return the path without links, None where there is no such file."""
        resolved = resolve(self.files, path)
        if resolved is None or self.files.mode(resolved) is None:
            return None
        return resolved

    def open(self, path: str) -> BinaryIO:
        """Open a regular file inside, links followed, or raise an OSError."""
        resolved = resolve(self.files, path)
        if resolved is None:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        return self.files.open(resolved)

    def names(self, directory: str) -> list[str]:
        """List a directory; one that is not there is empty."""
        real = self.real(directory)
        if real is None or not self._is(real, stat.S_ISDIR):
            return []
        try:
            return self.files.names(real)
        except OSError as error:
            self._miss(directory, error)
            return []

    def text(self, path: str) -> str:
        """Return a text file's content, empty where there is none."""
        return self.data(path, MOST_TEXT).decode(errors="replace")

    def data(self, path: str, most: int = MOST_DATA) -> bytes:
        """Return a file's content, empty where there is none."""
        real = self.real(path)
        if real is None or not self._is(real, stat.S_ISREG):
            return b""
        try:
            with self.files.open(real) as stream:
                return stream.read(_size(stream, most))
        except OSError as error:
            self._miss(path, error)
            return b""

    def is_elf(self, path: str) -> bool:
        """Return whether a file begins as ELF; one that cannot be read does not."""
        real = self.real(path)
        if real is None or not self._is(real, stat.S_ISREG):
            return False
        try:
            with self.files.open(real) as stream:
                return stream.read(len(elf.MAGIC)) == elf.MAGIC
        except OSError:
            return False

    def elf(self, path: str) -> ELF:
        """Read a file's dynamic section and version needs, or raise NotELFError."""
        if path not in self._elf:
            with self._library(path) as stream:
                self._elf[path] = elf.read(stream, path)
        return self._elf[path]

    def symbols(self, path: str) -> Symbols:
        """Read a file's dynamic symbols, which takes longer, or raise NotELFError."""
        with self._library(path) as stream:
            return elf.symbols(stream, path)

    @contextmanager
    def _library(self, path: str) -> Iterator[BinaryIO]:
        try:
            with self.open(path) as stream:
                _size(stream, MOST_DATA)
                yield stream
        except OSError as error:
            raise elf.NotELFError(f"{path}: {error.strerror or error}") from error

    def glob(self, pattern: str) -> list[str]:
        """Return the paths that match, links on the way followed inside."""
        found = [""]
        for part in pattern.strip("/").split("/"):
            if _WILD.search(part):
                below = (
                    f"{path}/{name}"
                    for path in found
                    for name in fnmatch.filter(self.names(path or "/"), part)
                )
                found = list(islice(below, MOST_FOUND + 1))
            else:
                found = [f"{path}/{part}" for path in found]
            if len(found) > MOST_FOUND:
                self.note(f"{pattern}: more than {MOST_FOUND} files")
                return []
        return [path for path in found if self.real(path)]

    def directories(self, patterns: Sequence[str]) -> list[str]:
        """Return directories, each once, by the path without links."""
        found: dict[str, None] = {}
        for pattern in patterns:
            for path in self.glob(pattern):
                real = self.real(path)
                if real and self._is(real, stat.S_ISDIR):
                    found.setdefault(real)
        return list(found)

    @cached_property
    def loader_path(self) -> list[str]:
        """Where the loader looks for libraries: its configuration, then its own."""
        return self.directories(
            [*self._configured("/etc/ld.so.conf", set()), *_DEFAULT_LIBRARIES]
        )

    def _configured(self, path: str, seen: set[str], depth: int = 0) -> Iterator[str]:
        seen.add(path)
        for line in self.text(path).splitlines():
            words = line.partition("#")[0].split()
            if words[:1] == ["include"]:
                for pattern in words[1:] if depth < MOST_INCLUDES else ():
                    place = pattern if pattern.startswith("/") else f"/etc/{pattern}"
                    for included in self.glob(place):
                        if included not in seen:
                            yield from self._configured(included, seen, depth + 1)
            elif words and words[0].startswith("/"):
                yield words[0]

    def library(
        self, name: str, user: str = "", runpath: Sequence[str] = ()
    ) -> str | None:
        """Return the file that the loader would take for a name.

        Parameters
        ----------
        name : str
            As in DT_NEEDED.
        user : str, optional
            The file that needs it, for ``$ORIGIN``.
        runpath : sequence of str, optional
            Of that file.
        """
        origin = user.rpartition("/")[0]
        own = [
            directory.replace("${ORIGIN}", origin).replace("$ORIGIN", origin)
            for directory in runpath
        ]
        for directory in (*own, *self.loader_path):
            real = self.real(f"{directory}/{name}")
            if real:
                return real
        return None

    def note(self, line: str) -> None:
        """Keep for the report what could not be read."""
        if line not in self.unread and len(self.unread) <= MOST_NOTES:
            left_out = len(self.unread) == MOST_NOTES
            self.unread.append("and more that is not listed" if left_out else line)

    def _miss(self, path: str, error: OSError) -> None:
        self.note(f"{path}: {error.strerror or error}")

    def _is(self, path: str, kind: Callable[[int], bool]) -> bool:
        mode = self.files.mode(path)
        return mode is not None and kind(mode)


def _size(stream: BinaryIO, most: int) -> int:
    size = stream.seek(0, os.SEEK_END)
    if size > most:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    stream.seek(0)
    return size
