"""Directories that no other account can take away, and how one is removed all the same.

The owner of a directory can rename any file in it, other accounts' too, and put
something else under its name. In a directory that is not sticky, every account that may
write can. Each directory on the path from the root counts.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import secrets
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

from dask_runner.linux import is_hidden

if TYPE_CHECKING:
    from collections.abc import Callable

#: Where an access control list gives rights to more than the owner and the group.
_LIST = "system.posix_acl_access"

#: Times that a directory is made anew when somebody else is faster: it is looked at
#: within microseconds.
TRIES = 100

_TEMPORARY = ("/var/tmp", "/tmp")  # noqa: S108  exposure() looks at them

#: Rights of accounts that are not the owner.
_OTHERS = 0o077


def exposure(directory: str | Path) -> str:
    """Return why another account could rename what lies in a directory; "" if none can.

    Parameters
    ----------
    directory : path
        One that exists.

    Raises
    ------
    OSError
        If it, or one on the way to it, cannot be looked at.
    """
    path = Path(directory).resolve()
    for one in reversed([path, *path.parents]):
        found = one.stat()
        mode = stat.S_IMODE(found.st_mode)
        if found.st_uid not in {0, os.geteuid()} and not is_hidden(found.st_uid):
            return f"{one} belongs to uid {found.st_uid}"
        if found.st_uid == os.geteuid() and not mode & 0o011:
            # No other account gets beyond this directory.
            return ""
        if mode & stat.S_ISVTX:
            continue
        if mode & stat.S_IWOTH:
            return f"{one} can be written by all (mode {mode:04o})"
        if mode & stat.S_IWGRP and not _is_ours_alone(one, found.st_gid):
            return f"{one} can be written by group {found.st_gid} (mode {mode:04o})"
    return ""


def strangers_link(path: Path) -> Path | None:
    """Return a link on a path that nobody should follow; None if there is none.

    That is one of another account in a directory where all may lay one, such as /tmp:
    what the kernel refuses with fs.protected_symlinks (proc_sys_fs(5)), where that is
    on.

    Parameters
    ----------
    path : Path
        An absolute one.
    """
    for one in reversed([path, *path.parents]):
        if one.is_symlink():
            link, parent = one.lstat(), one.parent.stat()
            for_all = parent.st_mode & stat.S_ISVTX and parent.st_mode & stat.S_IWOTH
            if for_all and link.st_uid not in {os.geteuid(), parent.st_uid}:
                return one
    return None


def for_temporary_files() -> str:
    """Return a directory for temporary files that others cannot take away.

    The usual one, where there is no better.
    """
    usual = tempfile.gettempdir()
    for directory in (usual, *_TEMPORARY):
        with contextlib.suppress(OSError):
            if not exposure(directory) and os.access(directory, os.W_OK | os.X_OK):
                return directory
    return usual


def _is_ours_alone(directory: Path, gid: int) -> bool:
    """Whether a group is the one that many systems give each user for themselves."""
    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
        listed = _LIST in os.listxattr(directory)
    except (KeyError, OSError):  # OSError: the file system has no such attributes
        return False
    return (
        gid == user.pw_gid
        and group.gr_name == user.pw_name
        and not {*group.gr_mem} - {user.pw_name}
        and not listed
    )


class HeldDirectory:
    """A directory known by its descriptor, so that no other can take its place.

    Parameters
    ----------
    descriptor : int
        This object's from now on; -1 for a directory that is gone.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    @classmethod
    def at(cls, path: str | Path) -> Self:
        """Hold one that :meth:`make` has made; nothing if it is gone, or is another.

        Who holds a directory removes all that is in it, and root could remove anything.
        """
        try:
            held = cls(os.open(path, os.O_RDONLY | os.O_DIRECTORY))
        except OSError:
            return cls(-1)
        found = os.fstat(held.descriptor)
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & _OTHERS:
            held.close()
        return held

    @classmethod
    def make(
        cls, parent: str, prefix: str, before: Callable[[Path], None] = lambda _: None
    ) -> tuple[Self, Path]:
        """Make one of mode 0700; return its name as well.

        Parameters
        ----------
        parent : str
            Where.
        prefix : str
            How its name begins.
        before : callable, optional
            Is told each path before something is made there.

        Raises
        ------
        OSError
            If it cannot be made, or is not ours alone.
        """
        for _ in range(TRIES):
            path = Path(parent, prefix + secrets.token_hex(8)).absolute()
            before(path)
            try:
                path.mkdir(0o700)
            except FileExistsError:
                continue
            if made := cls._opened(path):
                return made, path
        raise PermissionError(errno.EPERM, "somebody else takes away what is made")

    @classmethod
    def _opened(cls, path: Path) -> Self | None:
        """Open what was just made; None if something else is there by now."""
        try:
            held = cls(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW))
        except (FileNotFoundError, NotADirectoryError):
            return None
        found = os.fstat(held.descriptor)
        entries = os.listdir(held.descriptor)  # noqa: PTH208  a descriptor
        if found.st_uid != os.geteuid() or entries:
            os.close(held.descriptor)
            return None
        mode = stat.S_IMODE(found.st_mode)
        if mode & _OTHERS:
            held.remove()
            why = f"it shows files to others (mode {mode:04o})"
            raise PermissionError(errno.EPERM, why)
        return held

    @property
    def path(self) -> Path:
        """A name that all processes of this user have for it, while this one lives."""
        return Path(f"/proc/{os.getpid()}/fd/{self.descriptor}")

    def close(self) -> None:
        """Hold it no more."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def remove(self) -> None:
        """Remove it with all that is in it, wherever it is by now."""
        if self.descriptor < 0:
            return
        # Another process may remove the same, and be faster.
        with contextlib.suppress(OSError):
            _empty(self.descriptor)
            name = Path(f"/proc/self/fd/{self.descriptor}").readlink()
            if os.path.samestat(name.lstat(), os.fstat(self.descriptor)):
                name.rmdir()
                self.close()


def _empty(directory: int) -> None:
    with os.scandir(directory) as found:
        entries = list(found)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.name, ignore_errors=True, dir_fd=directory)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(entry.name, dir_fd=directory)
