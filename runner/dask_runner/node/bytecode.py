"""The bytecode that a start needs, in one file of the image.

A container mounts its image by itself, and by FUSE without root: it looks for, opens,
decompresses and reads each of some 700 modules, for each process anew. From one file
the import of Dask takes 0.68 s of CPU time there instead of 0.94, FUSE's own included
(docs/bench/costs.md). Python imports as before, from the same places in the same order:
only what it would read of a directory comes from the file, and only if the directory is
as it was when the file was written. A package that is installed later, or mounted over
the image's, is therefore taken as it is.

It also has what Python's own modules compile as others are imported
(:mod:`dask_runner.node.compiled_texts`).

This module imports little, because it comes before the file is in use.

The file is written where an image is built (``images/scripts/write_bytecode.py``); a
Python without it does without.
"""

from __future__ import annotations

import marshal
import os
import sys
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)
from importlib.util import MAGIC_NUMBER, spec_from_file_location

from dask_runner.node.compiled_texts import Known

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType
    from typing import Any

    from dask_runner.node.compiled_texts import Key

    #: A module of a directory: where its source or its library is below it, where its
    #: code is in the file, and how long that is (0 for a library).
    Module = tuple[str, int, int]
    #: What a directory had: when its entries had changed last and when those of its
    #: ``__pycache__`` (seconds since the epoch), and its modules by name.
    Directory = tuple[float, float, dict[str, Module]]
    #: What a text has become: where it is, and how long.
    Text = tuple[int, int]

#: Raised when the layout of the file changes.
_FORMAT = b"dask-runner 3\n"
_LENGTH_BYTES = 8
_PACKAGE = "__init__.py"
#: Seconds by which a time may differ: archives of layers round times to seconds.
_ROUNDED_SECONDS = 1.0

_LOADERS = (
    (ExtensionFileLoader, EXTENSION_SUFFIXES),
    (SourceFileLoader, SOURCE_SUFFIXES),
    (SourcelessFileLoader, BYTECODE_SUFFIXES),
)


def _is_now(path: str, directory: Directory) -> bool:
    """Return whether a directory is as it was."""
    changed, compiled, _ = directory
    now, now_compiled = _changes(path)
    return (
        abs(now - changed) < _ROUNDED_SECONDS
        and abs(now_compiled - compiled) < _ROUNDED_SECONDS
    )


def _changes(path: str) -> tuple[float, float]:
    return _changed(path), _changed(f"{path}/__pycache__")


def _changed(path: str) -> float:
    try:
        return os.stat(path).st_mtime  # noqa: PTH116  for hundreds of them
    except OSError:
        return 0.0


class _Finder(FileFinder):
    """Python's finder for a directory, which need not look at what the file has.

    It is one of Python's: pkgutil asks for the class.
    """

    def __init__(self, path: str, file: _File, known: Mapping[str, Module]) -> None:
        super().__init__(path, *_LOADERS)
        self._file = file
        self._known = known

    def find_spec(
        self, fullname: str, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module; Python calls this."""
        known = self._known.get(fullname.rpartition(".")[2])
        if known is None or not self._file.is_open:
            return super().find_spec(fullname, target)
        path, at, length = known
        origin = f"{self.path}/{path}"
        if not length:
            return spec_from_file_location(
                fullname, origin, loader=ExtensionFileLoader(fullname, origin)
            )
        package, _, name = origin.rpartition("/")
        loader = _Loader(fullname, origin, self._file, at, length)
        within = [package] if name == _PACKAGE else None
        return spec_from_file_location(
            fullname, origin, loader=loader, submodule_search_locations=within
        )

    def invalidate_caches(self) -> None:
        """Look at the directory itself from now on; Python calls this."""
        self._known = {}
        super().invalidate_caches()


class _Loader(SourceFileLoader):
    """Python's loader, whose code comes from the file while this is in use."""

    def __init__(
        self, fullname: str, path: str, file: _File, at: int, length: int
    ) -> None:
        super().__init__(fullname, path)
        self._file, self._at, self._length = file, at, length

    def get_code(self, fullname: str) -> CodeType | None:
        """Return a module's code; Python calls this."""
        if not self._file.is_open:
            return super().get_code(fullname)
        code: CodeType = self._file.value(self._at, self._length)
        return code

    def exec_module(self, module: ModuleType) -> None:
        """Load a module; Python calls this."""
        super().exec_module(module)
        if self._file.is_open:
            self._file.texts.serve(module)


class _File:
    """An open file of bytecode.

    Parameters
    ----------
    path : str
    """

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.directories: dict[str, Directory] = {}
        self._texts: dict[Key, Text] = {}
        self.texts = Known(self._find)
        self.is_open = True
        size = os.fstat(self._descriptor).st_size
        begin = len(_head(0, 0))
        found = self._read(0, begin)
        length = int.from_bytes(found[-_LENGTH_BYTES:])
        self._begin = begin + length
        if found != _head(size - self._begin, length):
            self.close()  # another Python's or release's, or a part of one
            return
        self.directories, self._texts = marshal.loads(self._read(begin, length))  # noqa: S302  the image's own

    def value(self, at: int, length: int) -> Any:
        """Return a code, or what a text has become."""
        return marshal.loads(self._read(self._begin + at, length))  # noqa: S302  as above

    def _find(self, key: Key) -> Any:
        known = self._texts.get(key) if self.is_open else None
        return self.value(*known) if known else None

    def _read(self, at: int, length: int) -> bytes:
        # A fork reads as well, so nobody may seek.
        return os.pread(self._descriptor, length, at)

    def finder(self, path: str) -> _Finder:
        """Return the finder for a directory; one of ``sys.path_hooks``.

        Raises
        ------
        ImportError
            The file has nothing of it, or not as it is now.
        """
        directory = self.directories.get(path)
        if directory is None or not self.is_open or not _is_now(path, directory):
            raise ImportError
        return _Finder(path, self, directory[2])

    def close(self) -> None:
        """Leave all to Python."""
        self.texts.put_back()
        if self.is_open:
            self.is_open = False
            os.close(self._descriptor)


def _head(codes: int, index: int) -> bytes:
    """Return what a file begins with, by the lengths of its parts."""
    lengths = (max(one, 0).to_bytes(_LENGTH_BYTES) for one in (codes, index))
    return b"".join([_FORMAT, MAGIC_NUMBER, *lengths])


def of_this_python() -> str:
    """Return where this Python's file is, if it has one."""
    return f"{sys.prefix}/lib/dask-runner.bytecode"


_in_use: list[_File] = []


def use() -> None:
    """Import from the file of this Python from now on, if it has one."""
    if _in_use or sys.flags.optimize:  # without assertions, code is another
        return
    try:
        file = _File(of_this_python())
    except FileNotFoundError:
        return
    _in_use.append(file)
    sys.path_hooks.insert(0, file.finder)
    _forget(file)


def leave() -> None:
    """Import as Python does by itself again."""
    while _in_use:
        file = _in_use.pop()
        file.close()
        sys.path_hooks.remove(file.finder)
        _forget(file)


def _forget(file: _File) -> None:
    # Python asks the hooks for these once more.
    for directory in file.directories:
        sys.path_importer_cache.pop(directory, None)


def write(file: str, modules: Iterable[ModuleType], texts: Mapping[Key, bytes]) -> None:
    """Write the code of modules that are loaded, and what texts have become.

    What is no file of source or library is left out.

    Parameters
    ----------
    file : str
    modules : iterable of module
        In the order in which they will be read.
    texts : mapping
        Of :class:`dask_runner.node.compiled_texts.Recorder`.
    """
    directories: dict[str, Directory] = {}
    codes: list[bytes] = []
    at = 0

    def add(code: bytes) -> tuple[int, int]:
        nonlocal at
        codes.append(code)
        at += len(code)
        return at - len(code), len(code)

    for spec in filter(None, (module.__spec__ for module in modules)):
        code = _code_of(spec)
        if code is None or spec.origin is None:
            continue
        place, _, below = spec.origin.rpartition("/")
        if below == _PACKAGE:
            place, _, package = place.rpartition("/")
            below = f"{package}/{below}"
        _, _, own = directories.setdefault(place, (*_changes(place), {}))
        own[spec.name.rpartition(".")[2]] = (below, *add(code))
    places = {key: add(code) for key, code in texts.items()}
    index = marshal.dumps((directories, places))
    with open(file, "wb") as written:  # noqa: PTH123  pathlib is slow to import
        written.write(b"".join([_head(at, len(index)), index, *codes]))


def _code_of(spec: ModuleSpec) -> bytes | None:
    """Return a module's code; none of a library's, None if it is neither."""
    if type(spec.loader) is ExtensionFileLoader:
        return b""
    if type(spec.loader) is SourceFileLoader:
        return marshal.dumps(spec.loader.get_code(spec.name))
    return None
