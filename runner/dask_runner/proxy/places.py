"""Where the proxy listens: at a port on loopback, or at a Unix socket."""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tornado.netutil import bind_unix_socket

from dask_runner.errors import ConfigError
from dask_runner.hub.dashboard import LOCAL_PORT
from dask_runner.resources.private_directory import exposure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Ports that are tried where the user has named none.
TRIED = 100
#: Connections that may wait in the kernel's queue (net.core.somaxconn's usual value).
BACKLOG = 4096
#: Bytes of a path (unix(7)).
MOST_PATH_BYTES = 107

_LOOPBACK = "127.0.0.1"
_OTHERS_WRITE = 0o022
_IN_USE = (errno.EADDRINUSE, errno.EACCES)


def port(chosen: int | None) -> socket.socket:
    """Return a socket that listens at a port on loopback.

    Parameters
    ----------
    chosen : int or None
        None for Dask's usual one, or the next that is free.

    Raises
    ------
    ConfigError
        If it cannot be had.
    """
    first, tried = (LOCAL_PORT, TRIED) if chosen is None else (chosen, 1)
    number = first
    while True:
        try:
            return socket.create_server((_LOOPBACK, number), backlog=BACKLOG)
        except OSError as error:
            if error.errno not in _IN_USE or number + 1 == first + tried:
                raise ConfigError(
                    f"port {number} of {_LOOPBACK}: {error.strerror}",
                    "a port that is free, and that you may open",
                    "choose another --port; or take any that is free with --port 0",
                ) from error
        number += 1


@contextmanager
def unix_socket(path: Path) -> Iterator[socket.socket]:
    """Listen at a Unix socket that only its owner can open; remove it at the end.

    Raises
    ------
    ConfigError
        If somebody else could take its place, or something is there.
    """
    path = path.absolute()
    _check_directory(path)
    _check_path(path)
    try:
        sock = bind_unix_socket(str(path), mode=0o600, backlog=BACKLOG)
    except OSError as error:
        raise _refused(f"{path}: {error.strerror}") from error
    made = path.lstat()
    try:
        yield sock
    finally:
        sock.close()
        # Another may have been made there meanwhile.
        if path.is_socket() and os.path.samestat(path.lstat(), made):
            path.unlink()


def _check_directory(path: Path) -> None:
    directory = path.parent
    try:
        mode = directory.stat().st_mode
        why = exposure(directory)
    except OSError as error:
        raise _refused(f"{directory}: {error.strerror}") from error
    if mode & stat.S_ISVTX and mode & _OTHERS_WRITE:
        why = f"{directory} can be written by others (mode {stat.S_IMODE(mode):04o})"
    if why:
        raise _refused(why)


def _check_path(path: Path) -> None:
    if len(os.fsencode(path)) > MOST_PATH_BYTES:
        raise _refused(f"the path {path} is longer than {MOST_PATH_BYTES} bytes")
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise _refused(f"{path} is there, and is no socket")
    if found.st_uid != os.geteuid():
        raise _refused(f"{path} is there, and belongs to uid {found.st_uid}")
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(str(path))
        except ConnectionRefusedError:
            return  # of one that was killed
        except OSError as error:
            raise _refused(f"{path}: {error.strerror}") from error
    raise _refused(f"another process serves at {path}")


def _refused(saw: str) -> ConfigError:
    return ConfigError(
        saw,
        "a path that is free, in a directory in which only you can write",
        "name another --socket, such as one in a directory of mode 700",
    )
