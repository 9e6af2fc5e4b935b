"""Where Dask's processes look for the user's modules.

Python puts a script's directory first on its path, for all imports. In Dask's processes
Dask itself imports too, at any time, and tries many modules that need not be installed.
A ``queue.py`` or ``prometheus_client.py`` beside the script would become a part of the
scheduler. So the result of an import depends on its caller:

- the user's code, and code that loads what the user has sent or named, finds the user's
  modules before all others, as in a script;
- libraries that the user's code has called do so too, except for modules of the
  standard library, which are always Python's own;
- Dask's own code does not find the user's modules.

Scheduler, agents and nannies run no code of the user's except to load what was sent:
there, libraries find the user's modules last. Below a command, whose own Python may
look elsewhere, all callers find them last.

The caller is read from the stack frames of the import, which is a call like any other.
"""

from __future__ import annotations

import grp
import importlib.machinery
import os
import pkgutil
import pwd
import stat
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner.programs import added_packages

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from importlib.machinery import ModuleSpec
    from types import FrameType, ModuleType

    from dask_runner.node.instructions import Modules

#: The kinds of process that are described above; the client is the user's own.
CLIENT, WORKER, SERVER, COMMAND = "client", "worker", "server", "command"

#: Modules of the import machinery, which import on behalf of their caller.
_MACHINERY = frozenset(
    {
        "_frozen_importlib",
        "_frozen_importlib_external",
        "importlib",
        "importlib._bootstrap",
        "importlib._bootstrap_external",
        "importlib.util",
        "zipimport",
    }
)

#: Modules that load objects that the user has sent.
_LOADERS = frozenset(
    {
        "cloudpickle",
        "cloudpickle.cloudpickle",
        "distributed.protocol.pickle",
        "pickle",
    }
)
#: Functions that load modules that the user has named.
NAMED = frozenset(
    {
        ("dask_runner.programs.client", "_is_there"),
        ("distributed.preloading", "_import_module"),
        ("distributed.utils", "import_term"),
        ("runpy", "_get_module_details"),
    }
)
#: Functions that call the user's functions.
CALLING = frozenset(
    ("distributed.worker", name)
    for name in ("_run_actor", "_run_task", "_run_task_simple", "run")
)
#: Prefix of modules that compute with the user's data when it arrives.
_DATA = "distributed.shuffle."

#: Packages that do their own work in the user's process.
_OURS = ("dask_runner", "distributed")

_USERS, _CAUSED, _UNASKED, _UNKNOWN = "users", "caused", "unasked", "unknown"


class PathFinder(importlib.machinery.PathFinder):
    """Python's own finder, except for the directories of the user's modules.

    It is a class, and has this name, because other packages search the finders for the
    original by these.

    Attributes
    ----------
    role : str
    places : tuple of str
        The directories of the user's modules: the same objects as in ``sys.path``.
    installed : tuple of str
        Prefixes of the names of files that are not the user's.
    known : frozenset of str
        Packages that were loaded before the directories were added.
    """

    role = SERVER
    places: tuple[str, ...] = ()
    installed: tuple[str, ...] = ()
    known: frozenset[str] = frozenset()

    @classmethod
    def find_spec(
        cls,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Find a module on the path that this import's caller may use."""
        if path is None:
            path = cls._path_for(fullname)
        return super().find_spec(fullname, path, target)

    @classmethod
    def _path_for(cls, name: str) -> list[str] | None:
        asker = cls._asker()
        if cls.role == CLIENT and (
            asker in {_USERS, _UNKNOWN}
            or (asker == _CAUSED and name not in sys.stdlib_module_names)
        ):
            return None  # sys.path as it is: this is the user's own process
        mine = {id(place) for place in cls.places}
        others = [place for place in sys.path if id(place) not in mine]
        if asker in {_UNASKED, _UNKNOWN}:
            return others
        first = cls.role != COMMAND and (
            asker == _USERS
            or (cls.role == WORKER and name not in sys.stdlib_module_names)
        )
        return [*cls.places, *others] if first else [*others, *cls.places]

    @classmethod
    def _asker(cls) -> str:
        frames = _frames(sys._getframe(1))  # noqa: SLF001  there is no other way
        nearest = next(frames, None)
        if nearest is None:
            return _UNKNOWN
        if cls._is_users(nearest) or _loads(nearest) or _function(nearest) in NAMED:
            return _USERS
        ours = False
        for frame in (nearest, *frames):
            if cls._is_users(frame) or _loads(frame) or _calls(frame):
                return _CAUSED
            ours = ours or _name(frame).startswith(_OURS)
        return _UNASKED if ours else _UNKNOWN

    @classmethod
    def _is_users(cls, frame: FrameType) -> bool:
        file = frame.f_globals.get("__file__")
        if not isinstance(file, str) or not file.startswith(os.sep):
            return _name(frame) == "__main__"  # from no file, or sent as code
        if _name(frame).partition(".")[0] in cls.known:
            return False
        place, own = _longest(cls.installed, file), _longest(cls.places, file)
        return not place or own >= place


def _longest(places: Sequence[str], file: str) -> int:
    """Return the length of the name of the innermost directory that has a file."""
    inside = (place for place in places if file.startswith(f"{place}{os.sep}"))
    return max(map(len, inside), default=0)


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    """Yield the frames above those of this module and the import machinery."""
    while frame is not None and _name(frame) in {*_MACHINERY, __name__}:
        frame = frame.f_back
    while frame is not None:
        yield frame
        frame = frame.f_back


def _name(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _function(frame: FrameType) -> tuple[str, str]:
    return _name(frame), frame.f_code.co_name


def _loads(frame: FrameType) -> bool:
    return _name(frame) in _LOADERS


def _calls(frame: FrameType) -> bool:
    return _name(frame).startswith(_DATA) or _function(frame) in CALLING


def look_in(modules: Modules, role: str) -> None:
    """Add the directories of the user's modules, as this kind of process needs them.

    Parameters
    ----------
    modules : Modules
    role : str
        The kind of process.
    """
    if modules.packages:
        added_packages.use(modules.packages)
    # multiprocessing gives a worker the path of its nanny's process.
    sys.path[:] = [place for place in sys.path if place not in modules.added]
    places = [_place(path) for path in modules.at]
    if modules.command:
        role, places = COMMAND, list(filter(is_only_ours, places))
    _look(places, role)


def for_workers(modules: Modules) -> Modules:
    """Return the modules for a process that inherits this one's path."""
    return replace(modules, added=PathFinder.places)


def begin(place: str) -> None:
    """Put the script's directory first, as Python does for the user's program."""
    _look([place], CLIENT)


def _look(places: list[str], role: str) -> None:
    new = [place for place in places if place not in sys.path or role == CLIENT]
    finder = PathFinder
    if finder not in sys.meta_path:
        finder.known = frozenset(
            name.partition(".")[0] for name in sys.modules if name != "__main__"
        )
        finder.installed = tuple(place for place in sys.path if place)
        finders = sys.meta_path
        finders[finders.index(importlib.machinery.PathFinder)] = finder
    finder.role = role
    finder.places = (*finder.places, *new)
    if role in {CLIENT, WORKER}:
        sys.path[:0] = new
    else:
        sys.path += new


def _place(path: str) -> str:
    """Return where a program's modules are: in the program, or beside it."""
    # As in Python: a directory or an archive has an importer.
    return path if pkgutil.get_importer(path) else script_directory(path)


def script_directory(path: str) -> str:
    """Return where Python looks first for the modules of a script.

    It is the directory of the script itself, not of a link to it.
    """
    link = Path(path).readlink() if Path(path).is_symlink() else Path(path)
    place = link if link.is_absolute() else Path(path)
    try:
        place = place.resolve(strict=True)
    except OSError:
        return str(place.parent)  # a pipe, below /proc
    return str(place.parent)


def is_only_ours(place: str) -> bool:
    """Return whether nobody else can put a module into a directory."""
    path = Path(place)
    try:
        found = [one.stat() for one in (path, *path.parents)]
    except OSError:
        return False
    # An account that can write to a directory above can replace this one, unless the
    # sticky bit allows only the owner of an entry to move it.
    own, *above = map(_is_writable_by_others, found)
    sticky = [bool(one.st_mode & stat.S_ISVTX) for one in found[1:]]
    return not own and all(
        not writable or moves for writable, moves in zip(above, sticky, strict=True)
    )


def _is_writable_by_others(found: os.stat_result) -> bool:
    if found.st_uid not in {0, os.geteuid()} or found.st_mode & stat.S_IWOTH:
        return True
    return bool(found.st_mode & stat.S_IWGRP) and not _is_private(found.st_gid)


def _is_private(group: int) -> bool:
    """Return whether a group has one user only, as many distributions create them."""
    try:
        found, user = grp.getgrgid(group), pwd.getpwuid(os.geteuid())
    except KeyError:
        return False
    alone = not set(found.gr_mem) - {user.pw_name}
    return found.gr_name == user.pw_name and user.pw_gid == group and alone
