"""The layers of an image, one above the other, as names in memory.

Names and links of an image are never names of this machine: the content of its files
lies in one file without any structure, and all else is here. So a layer can say what
it wants about where its files are; there is nothing outside that it could reach.
(tarfile's extraction filters are for trees on a disk, and refuse the absolute links
of which images are full.)
"""

from __future__ import annotations

import errno
import io
import os
import re
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from dask_runner.mpi.abi import elf
from dask_runner.mpi.abi.bounds import MOST_DEPTH, MOST_PATH
from dask_runner.mpi.abi.root import MOST_DATA, MOST_TEXT, resolve
from dask_runner.mpi.abi.streams import (
    CHUNK,
    Broken,
    Forward,
    Window,
    members,
    unbroken,
)

if TYPE_CHECKING:
    import tarfile
    from collections.abc import Iterable

    from dask_runner.mpi.abi.bounds import Budget

# What is known by its name and is never read stays in the archive.
_UNREAD = re.compile(r".*\.(py|pyc|pyi|h|a|mo|html|js|css|gz|txt|rst|ttf|png|svg)$")

# github.com/opencontainers/image-spec, layer.md
_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"


@dataclass(slots=True, eq=False)
class _Node:
    layer: int


@dataclass(slots=True, eq=False)
class _Directory(_Node):
    below: dict[str, _Node] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Link(_Node):
    target: str


@dataclass(slots=True, eq=False)
class _File(_Node):
    #: Where the content is; None where it is nothing that is ever read.
    place: tuple[int, int] | None


class Layers:
    """The files of an image's layers.

    Parameters
    ----------
    name : str
        What the whole is called.
    contents : binary file
        Empty, for writing and reading, and open as long as this is used.
    budget : Budget
    """

    def __init__(self, name: str, contents: BinaryIO, budget: Budget) -> None:
        self._name, self._contents, self._budget = name, contents, budget
        self._layer = 0
        self._top = _Directory(0)

    def __str__(self) -> str:
        return self._name

    # ------------------------------------------------------------- as Files

    def target(self, path: str) -> str | None:
        """Return where a link leads; None for what is no link."""
        node = self._node(path)
        return node.target if isinstance(node, _Link) else None

    def mode(self, path: str) -> int | None:
        """Return the kind, as in ``st_mode``; None for what is not there."""
        node = self._node(path)
        kinds = {_Directory: stat.S_IFDIR, _Link: stat.S_IFLNK, _File: stat.S_IFREG}
        return kinds[type(node)] if node else None

    def names(self, path: str) -> list[str]:
        """List a directory."""
        node = self._node(path)
        if not isinstance(node, _Directory):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return sorted(node.below)

    def open(self, path: str) -> BinaryIO:
        """Open a regular file."""
        node = self._node(path)
        if not isinstance(node, _File):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        if node.place is None:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        return io.BufferedReader(Window(self._contents, *node.place))

    def _node(self, path: str) -> _Node | None:
        node: _Node | None = self._top
        for part in filter(None, path.split("/")):
            if not isinstance(node, _Directory):
                return None
            node = node.below.get(part)
        return node

    # ----------------------------------------------------------- from layers

    def add(self, stream: BinaryIO) -> None:
        """Lay one more layer above those that are here.

        Raises
        ------
        Broken
            Where it is no whole tar file.
        ConfigError
            Where it is beyond the budget.
        """
        self._layer += 1
        with unbroken():
            source = Forward(stream, self._budget)
            for archive, member in members(source, self._budget):
                self._lay(archive, member)
        self._contents.flush()

    def _lay(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        parts = _parts(member.name)
        if not parts:
            return
        *above, name = parts
        if name.startswith(_WHITEOUT):
            if there := self._directory(above):
                self._hide(there, name)
        elif not _UNREAD.match(name) and (directory := self._made(above)):
            self._place(archive, member, directory, name)

    def _directory(self, parts: Iterable[str]) -> _Directory | None:
        # A link of a lower layer leads to where it leads inside.
        path = resolve(self, "/".join(parts))
        node = None if path is None else self._node(path)
        return node if isinstance(node, _Directory) else None

    def _made(self, parts: Iterable[str]) -> _Directory | None:
        """Return a directory, made where it is not there; None where it cannot be."""
        path = resolve(self, "/".join(parts))
        wanted = _parts(path or "")
        if path is None or wanted is None:
            return None
        node = self._top
        for part in wanted:
            below = node.below.setdefault(part, _Directory(self._layer))
            if not isinstance(below, _Directory):
                return None
            below.layer = self._layer
            node = below
        return node

    def _place(
        self,
        archive: tarfile.TarFile,
        member: tarfile.TarInfo,
        directory: _Directory,
        name: str,
    ) -> None:
        there = directory.below.get(name)
        if member.isdir():
            if isinstance(there, _Directory):
                there.layer = self._layer
            else:
                directory.below[name] = _Directory(self._layer)
            return
        node = self._read(archive, member)
        # A device, say, hides what was there, and is nothing that we read.
        directory.below.pop(name, None)
        if node:
            directory.below[name] = node

    def _read(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> _Node | None:
        if member.issym():
            short = len(member.linkname) < MOST_PATH
            return _Link(self._layer, member.linkname) if short else None
        if member.islnk():
            return self._same(member.linkname)
        if member.isreg():
            return _File(self._layer, self._kept(archive, member))
        return None

    def _same(self, linkname: str) -> _Node | None:
        """Return what a hard link is: the same as another name."""
        parts = _parts(linkname)
        directory = self._directory(parts[:-1]) if parts else None
        node = directory.below.get(parts[-1]) if parts and directory else None
        if isinstance(node, _Link):
            return _Link(self._layer, node.target)
        return _File(self._layer, node.place) if isinstance(node, _File) else None

    def _kept(
        self, archive: tarfile.TarFile, member: tarfile.TarInfo
    ) -> tuple[int, int] | None:
        """Copy what may be read: libraries, programs, and short texts."""
        stream = archive.extractfile(member)
        # Engines write no sparse files into layers; a few bytes would become any size.
        if stream is None or member.issparse() or member.size > MOST_DATA:
            return None
        with stream:
            chunk = stream.read(len(elf.MAGIC))
            if chunk != elf.MAGIC and member.size > MOST_TEXT:
                return None
            self._budget.kept(member.size)
            begin = self._contents.seek(0, os.SEEK_END)
            while chunk:
                self._contents.write(chunk)
                chunk = stream.read(CHUNK)
        size = self._contents.tell() - begin
        if size != member.size:
            raise Broken("a file in a layer is cut")
        return begin, size

    # -------------------------------------------------------------- whiteouts

    def _hide(self, directory: _Directory, whiteout: str) -> None:
        """Take away what lower layers have in a directory.

        Only names of this one directory can be meant, as they are its keys.
        """
        if whiteout == _OPAQUE:
            names = list(directory.below)
        else:
            names = [whiteout.removeprefix(_WHITEOUT)]
        todo = [(directory, names)]
        while todo:
            here, names = todo.pop()
            for name in names:
                node = here.below.get(name)
                if node and node.layer != self._layer:
                    del here.below[name]
                # What this layer itself has put there stays.
                elif isinstance(node, _Directory):
                    todo.append((node, list(node.below)))


def _parts(path: str) -> list[str] | None:
    """Return the names on a path; None where no image could have it installed."""
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if ".." in parts or len(parts) > MOST_DEPTH or len(path) >= MOST_PATH:
        return None
    return parts
