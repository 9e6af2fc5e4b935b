"""Find the cause below an error, and report it in three parts."""

from __future__ import annotations

import errno
import os
import resource
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError, RunnerError
from dask_runner.wire.threads import NO_THREAD

if TYPE_CHECKING:
    from collections.abc import Callable

#: Errors that hide the cause: Dask's "Nanny failed to start.", and those that its nanny
#: raises while it cleans up after a worker that did not start.
_HOLLOW = (RuntimeError, AssertionError, AttributeError)


def root(error: BaseException) -> BaseException:
    """Return the error below those that hide it."""
    while isinstance(error, _HOLLOW):
        before = error.__cause__
        if before is None and not isinstance(error, RuntimeError):
            before = error.__context__
        if before is None or not isinstance(before, Exception):
            break
        error = before
    return error


def in_words(error: BaseException) -> str:
    """Return an error in words, with the line of the user's file that raised it."""
    text = f"{type(error).__name__}: {error}".removesuffix(": ")
    file, line = _place(error)
    ours = any(Path(file).is_relative_to(one) for one in _INSTALLED) or COPIED in file
    return text if not line or ours else f"{text} ({file}, line {line})"


#: Where Dask puts copies of the modules that it preloads.
COPIED = "/dask-scratch-space/"

#: Directories of the interpreter, its packages and this one.
_INSTALLED = (
    *map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib")),
    str(Path(__file__).parent),
    "<frozen importlib._bootstrap>",
)


def _place(error: BaseException) -> tuple[str, int]:
    """Return the file and the line that raised an error; ("", 0) if not known."""
    trace = error.__traceback__
    if trace is None:
        return "", 0  # it comes from another process
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_filename, trace.tb_lineno


def problem(error: Exception, place: str = "") -> RunnerError:
    """Return the error to print when *error* ends a rank.

    *place* is the directory in which the rank writes, for errors that name no file.

    Raises
    ------
    Exception
        The error itself, if it is a mistake in this program.
    """
    found = error if isinstance(error, RunnerError) else refused(error, place)
    if found is None:
        raise error
    return found


def refused(error: BaseException, place: str = "") -> RunnerError | None:
    """Return what the system has refused; None if it has refused nothing."""
    found = root(error)
    number = _number(found)
    if number and Path(_place(found)[0]).name == _SEMAPHORES:
        return ConfigError(
            f"no semaphore can be made in /dev/shm: {os.strerror(number)}",
            "a /dev/shm in which nannies and their workers can make them",
            "give the container one (docker run --shm-size 1g, apptainer run --bind "
            "/dev/shm), make space in it, or start workers with --no-nanny",
        )
    if number not in _REFUSALS:
        return None
    parts = _REFUSALS[number]
    named = found.filename if isinstance(found, OSError) else None
    file = named or (place if parts is _disk else "")
    saw = f"{file}: {os.strerror(number)}" if file else os.strerror(number)
    return ConfigError(saw, *parts())


#: The module of multiprocessing that makes semaphores.
_SEMAPHORES = "synchronize.py"


def _number(error: BaseException) -> int:
    if isinstance(error, RuntimeError) and str(error) == NO_THREAD:
        return errno.EAGAIN
    return (error.errno or 0) if isinstance(error, OSError) else 0


def _limit(kind: int) -> str:
    soft, _ = resource.getrlimit(kind)
    return "unlimited" if soft == resource.RLIM_INFINITY else str(soft)


def _disk() -> tuple[str, str]:
    return (
        "space for logs and for what workers spill",
        "make space there, or name another place with --local-directory DIR",
    )


def _processes() -> tuple[str, str]:
    return (
        f"more processes and threads (ulimit -u: {_limit(resource.RLIMIT_NPROC)})",
        "raise that limit, end other processes of yours, or start fewer workers",
    )


def _files() -> tuple[str, str]:
    return (
        f"more open files (ulimit -n: {_limit(resource.RLIMIT_NOFILE)})",
        "raise that limit (ulimit -n), or start fewer workers a node (--nworkers)",
    )


def _memory() -> tuple[str, str]:
    return (
        "more memory",
        "ask for more, or start fewer workers a node (--nworkers)",
    )


_REFUSALS: dict[int, Callable[[], tuple[str, str]]] = {
    errno.ENOSPC: _disk,
    errno.EDQUOT: _disk,
    errno.EROFS: _disk,
    errno.EAGAIN: _processes,
    errno.EMFILE: _files,
    errno.ENFILE: _files,
    errno.ENOMEM: _memory,
}
