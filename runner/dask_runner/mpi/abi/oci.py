"""Images of Docker and OCI: a table of contents, and layers."""

from __future__ import annotations

import errno
import io
import json
import posixpath
import re
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from dask_runner.mpi.abi.bounds import MOST_INDEXES, MOST_JSON, MOST_LAYERS
from dask_runner.mpi.abi.streams import Broken, Direct, Window, members, unbroken

if TYPE_CHECKING:
    import tarfile

    from dask_runner.mpi.abi.bounds import Budget

# github.com/opencontainers/image-spec, descriptor.md
_DIGEST = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+")

_MOST_SHOWN = 80

# docker save once wrote a layer that was there before as a link to it.
_LINKS = 8


class Layout(Protocol):
    """Where an image's files are by name."""

    def open(self, path: str) -> BinaryIO:
        """Open a regular file, or raise an OSError."""


class Archive:
    """A layout in a tar file, which is not compressed.

    Parameters
    ----------
    file : binary file
        Open as long as this is used.
    budget : Budget
    """

    def __init__(self, file: BinaryIO, budget: Budget) -> None:
        self._file = file
        self._members: dict[str, tarfile.TarInfo] = {}
        with unbroken():
            for _, member in members(Direct(file), budget):
                self._members[_plain(member.name)] = member

    def open(self, path: str) -> BinaryIO:
        """Open a regular file inside."""
        name = _plain(path)
        for _ in range(_LINKS):
            member = self._members.get(name)
            if member is None or not (member.issym() or member.islnk()):
                break
            beside = posixpath.dirname(name) if member.issym() else ""
            name = _plain(posixpath.join(beside, member.linkname))
        if member is None or not member.isreg() or member.issparse():
            raise FileNotFoundError(errno.ENOENT, "no such file inside")
        return io.BufferedReader(Window(self._file, member.offset_data, member.size))


class Missing(Broken):
    """A layout lacks a file that it names."""


def opened(layout: Layout, name: str) -> BinaryIO:
    """Open a file of a layout, or raise Missing."""
    try:
        return layout.open(name)
    except OSError as error:
        raise Missing(f"{name}: {error.strerror or error}") from error


def _plain(path: str) -> str:
    return posixpath.normpath(f"/{path}").lstrip("/")


def layers(layout: Layout) -> list[str]:
    """Return the names of an image's layers, the lowest first.

    Raises
    ------
    Broken
        Where the table of contents is none.
    """
    try:
        # github.com/moby/docker-image-spec: what docker save has always written.
        images = _json(layout, "manifest.json")
    except Missing:
        found = _of_index(layout)
    else:
        if not isinstance(images, list) or not images:
            raise Broken("manifest.json is no list of images")
        found = _list(images[0], "Layers", str, "manifest.json")
    if len(found) > MOST_LAYERS:
        raise Broken(f"it has more than {MOST_LAYERS} layers")
    return found


def _of_index(layout: Layout) -> list[str]:
    # github.com/opencontainers/image-spec, image-layout.md
    name = "index.json"
    for _ in range(MOST_INDEXES):
        index = _json(layout, name)
        if isinstance(index, dict) and "manifests" not in index:
            return [_blob(each) for each in _list(index, "layers", dict, name)]
        entries = _list(index, "manifests", dict, name)
        if not entries:
            raise Broken(f"{name} names no image")
        name = _blob(entries[0])
    raise Broken(f"more than {MOST_INDEXES} indexes lead from one to the next")


def _blob(entry: dict[str, Any]) -> str:
    digest = entry.get("digest")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise Broken(f"a digest is {_shown(digest)}")
    return "blobs/" + digest.replace(":", "/")


def _list(value: Any, key: str, kind: type, name: str) -> list[Any]:
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, list) or not all(isinstance(one, kind) for one in found):
        raise Broken(f'{name} has no list "{key}" of what should be in it')
    return found


def _json(layout: Layout, name: str) -> Any:
    with opened(layout, name) as stream:
        data = stream.read(MOST_JSON + 1)
    if len(data) > MOST_JSON:
        raise Broken(f"{name} is larger than {MOST_JSON >> 20} MiB")
    try:
        return json.loads(data)
    # Also what is no UTF-8, and what is nested too deeply.
    except (ValueError, RecursionError) as error:
        raise Broken(f"{name} is no JSON ({error})") from error


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
