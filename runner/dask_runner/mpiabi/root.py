"""A file system below a directory, as a process whose root it were would see it."""

from __future__ import annotations

import fnmatch
import os
import re
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

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


class Root:
    """Paths as they are inside, files as they are outside.

    Links are followed inside: an absolute one in an image that lies unpacked in
    a directory leads to that image's file and not to the machine's.

    Parameters
    ----------
    top : Path
        The directory; ``/`` for the machine itself.
    """

    def __init__(self, top: Path) -> None:
        self.top = top.absolute()
        #: What could not be read, for the report.
        self.unread: list[str] = []

    def __repr__(self) -> str:
        return f"Root({str(self.top)!r})"

    def real(self, path: str) -> str | None:
        """Return the path without links, None where there is no such file."""
        resolved = self.resolve(path)
        if resolved is None or not os.path.lexists(self.outside(resolved)):
            return None
        return resolved

    def resolve(self, path: str) -> str | None:
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
            try:
                target = str(self.top.joinpath(*done, part).readlink())
            except OSError:
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

    def outside(self, path: str) -> Path:
        """Return where a path lies for us; it should be free of links."""
        return self.top / path.lstrip("/")

    def file(self, path: str) -> Path | None:
        """Return a file inside, links followed; None where there is none."""
        real = self.real(path)
        return None if real is None else self.outside(real)

    def names(self, directory: str) -> list[str]:
        """List a directory; one that is not there is empty."""
        place = self.file(directory)
        if place is None:
            return []
        try:
            return sorted(each.name for each in place.iterdir())
        except NotADirectoryError:
            return []
        except OSError as error:
            self._miss(directory, error)
            return []

    def text(self, path: str) -> str:
        """Return a text file's content, empty where there is none."""
        return self.data(path).decode(errors="replace")

    def data(self, path: str) -> bytes:
        """Return a file's content, empty where there is none."""
        place = self.file(path)
        if place is None or not place.is_file():
            return b""
        try:
            return place.read_bytes()
        except OSError as error:
            self._miss(path, error)
            return b""

    def glob(self, pattern: str) -> list[str]:
        """Return the paths that match, links on the way followed inside."""
        found = [""]
        for part in pattern.strip("/").split("/"):
            if _WILD.search(part):
                found = [
                    f"{path}/{name}"
                    for path in found
                    for name in fnmatch.filter(self.names(path or "/"), part)
                ]
            else:
                found = [f"{path}/{part}" for path in found]
        return [path for path in found if self.real(path)]

    def directories(self, patterns: Sequence[str]) -> list[str]:
        """Return directories, each once, by the path without links."""
        found: dict[str, None] = {}
        for pattern in patterns:
            for path in self.glob(pattern):
                real = self.real(path)
                if real and self.outside(real).is_dir():
                    found.setdefault(real)
        return list(found)

    @cached_property
    def loader_path(self) -> list[str]:
        """Where the loader looks for libraries: its configuration, then its own."""
        return self.directories(
            [*self._configured("/etc/ld.so.conf", set()), *_DEFAULT_LIBRARIES]
        )

    def _configured(self, path: str, seen: set[str]) -> Iterator[str]:
        seen.add(path)
        for line in self.text(path).splitlines():
            words = line.partition("#")[0].split()
            if words[:1] == ["include"]:
                for pattern in words[1:]:
                    place = pattern if pattern.startswith("/") else f"/etc/{pattern}"
                    for included in self.glob(place):
                        if included not in seen:
                            yield from self._configured(included, seen)
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

    def _miss(self, path: str, error: OSError) -> None:
        line = f"{path}: {os.strerror(error.errno or 0)}"
        if line not in self.unread:
            self.unread.append(line)
