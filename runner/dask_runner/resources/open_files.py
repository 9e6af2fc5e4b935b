"""The limit of open files: raised for our processes, and not for what they start.

The usual soft limit is 1024 (it protects programs that call select(2)), and each
process may raise its own up to the hard limit. Ours do before they serve; the user's
program runs with the limit that the user gave it, and so does what a task starts by
Python's own means (:func:`give_back`).
"""

from __future__ import annotations

import _posixsubprocess
import contextlib
import fcntl
import os
import resource
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: File descriptors that one of our processes may have, if the system lets it.
FILES = 1 << 16
#: Numbers below are left to what the user's code opens (select(2) needs them).
OUT_OF_THE_WAY = 1 << 10


class _Limit:
    """What is known of this process's soft limit.

    Attributes
    ----------
    given : int
        What the user gave it, or its rank; -1 while that is what it has.
    raised : int
        To what it was raised.
    gives_back : bool
        Whether what it starts gets the user's.
    """

    given = -1
    raised = -1
    gives_back = False


_limit = _Limit()
_lock = threading.Lock()


def allow_many_files() -> None:
    """Raise this process's limit of file descriptors to what the system allows.

    Rank 0 has one for each rank, a leader three for each rank of its node, an agent a
    dozen for each worker, the scheduler three to five for each worker, and a worker
    as many as there are others that have its data.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if _limit.given < 0:
        _limit.given = soft
    _limit.raised = wanted
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def given() -> int:
    """Return the soft limit that the user gave."""
    if _limit.given >= 0:
        return _limit.given
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def adopt(soft: int) -> None:
    """Take the limit of the rank for the user's, whatever this process began with."""
    now = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if now != soft:
        _limit.given, _limit.raised = soft, now


def out_of_the_way(descriptor: int) -> int:
    """Move a descriptor that is kept for long to a number that few limits reach.

    Returns
    -------
    int
        Its number from now on.
    """
    try:
        moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, OUT_OF_THE_WAY)
    except OSError:  # the limit is as low
        return descriptor
    os.close(descriptor)
    return moved


def put_back() -> None:
    """Go on with the limit that the user gave; one that was set since then stays."""
    if _is_raised():
        _set(_limit.given)


def give_back() -> None:
    """Give what this process starts the limit that the user set.

    A fork that goes on as Python takes it itself. A program is started by a function
    in C, which leaves no room for that: the limit of this process is lowered for the
    moment that it takes. That hurts no other thread as long as enough numbers below
    it are free; where they are not, the program gets its limit when it has begun. A
    fork by a library in C keeps what this process has.
    """
    if _limit.gives_back:
        return
    _limit.gives_back = True
    os.register_at_fork(after_in_child=_forked)
    _posixsubprocess.fork_exec = _lowering(_posixsubprocess.fork_exec)
    # subprocess has a name of its own for it.
    subprocess._fork_exec = _posixsubprocess.fork_exec  # type: ignore[attr-defined]  # noqa: SLF001
    os.posix_spawn = _lowering(os.posix_spawn)
    os.posix_spawnp = _lowering(os.posix_spawnp)
    os.system = _telling(os.system)  # type: ignore[assignment]


def _is_raised() -> bool:
    # A program that has set another one since then has meant it.
    now = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _limit.given >= 0 and now == _limit.raised


def _set(soft: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _forked() -> None:
    global _lock  # noqa: PLW0603  another thread of the parent may have held it
    _lock = threading.Lock()
    put_back()


def _lowering(start: Callable[..., int]) -> Callable[..., int]:
    """Wrap a function that starts a program and returns its process id."""

    def start_with_less(*args: Any, **how: Any) -> int:
        with _lowered() as late:
            pid = start(*args, **how)
        if late:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (_limit.given, hard))
        return pid

    return start_with_less


@contextlib.contextmanager
def _lowered() -> Iterator[bool]:
    """Lower the limit of this process, unless another thread could come to feel it.

    Yields
    ------
    bool
        Whether it could, so that the program has to be given its limit later.
    """
    with _lock:
        if not _is_raised():
            yield False
            return
        # Half of the numbers below the limit stay free.
        numbers = (int(one.name) for one in Path("/proc/self/fd").iterdir())
        if 2 * sum(number < _limit.given for number in numbers) > _limit.given:
            yield True
            return
        _set(_limit.given)
        try:
            yield False
        finally:
            _set(_limit.raised)


def _telling(system: Callable[[Any], int]) -> Callable[[Any], int]:
    """Wrap the function that waits for a shell, which can lower its limit itself."""

    def system_with_less(command: Any) -> int:
        with _lock:
            raised = _is_raised()
        if not raised:
            return system(command)
        return system(f"ulimit -S -n {_limit.given}; ".encode() + os.fsencode(command))

    return system_with_less
