"""Forks of a process that has imported Dask, so that nobody imports it again.

A fork costs milliseconds and shares the memory of what was imported; an import
costs the better part of a second. The process must have one thread and no event
loop when it forks.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dask_runner.node.child import Sibling

_PR_SET_NAME = 15


def call_it(name: str) -> None:
    """Name this process as ``ps -o comm`` shows it (at most 15 characters)."""
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


@contextlib.contextmanager
def without_collecting() -> Iterator[None]:
    """Import without a look for garbage, and keep what was imported as it is.

    What is imported stays. To look for garbage in it takes a fifth of the time, leaves
    holes that forks would fill, and later writes on every page that they share. So it
    is done as Python's documentation says (gc, ``freeze``).
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


#: Descriptors of the user's stderr, and of what is in its place.
_users_stderr = -1
_log = -1


def hold(stderr: int) -> None:
    """Take note of the descriptor that is the user's stderr; ours is the log.

    This process complains there, and its fork server and its resource tracker, when
    someone whom they serve is killed, and Dask's nannies, where a worker goes at the
    wrong moment. A worker gets the user's stderr back, for what its tasks print.
    """
    global _users_stderr  # noqa: PLW0603  forks find it
    os.set_inheritable(stderr, False)
    _users_stderr = stderr


def users() -> int:
    """Return that descriptor."""
    return _users_stderr


def users_stderr() -> None:
    """Write to the user's stderr again."""
    global _log  # noqa: PLW0603  see quiet_again
    _log = os.dup(2)
    os.dup2(_users_stderr, 2)
    os.close(_users_stderr)


def quiet_again() -> None:
    """Complain into the log again."""
    os.dup2(_log, 2)


def fork() -> int:
    """Fork a child of our subreaper (prctl(2)): the top process of the rank.

    The one between ends at once, so that the child outlives this process, and
    the top process waits for it. The child goes on only when that is so.

    Returns
    -------
    int
        The child's process id; 0 in the child.
    """
    told, tell = os.pipe()
    wait, go = os.pipe()
    middle = os.fork()
    if middle == 0:
        pid = os.fork()
        if pid:
            # A group of its own, before anyone knows it by its number.
            os.setpgid(pid, pid)
            os.write(tell, str(pid).encode())
            os._exit(0)
        for end in (told, tell, go):
            os.close(end)
        os.read(wait, 1)
        os.close(wait)
        return 0
    os.close(tell)
    os.close(wait)
    pid = int(os.read(told, 16))
    os.waitpid(middle, 0)
    os.close(told)
    os.close(go)
    return pid


def become(sibling: Sibling) -> None:
    """Take the place of a fresh Python that was started as that program."""
    if sibling.stdin >= 0:
        # Under the descriptor that the interpreter's sys.stdin reads already.
        os.dup2(sibling.stdin, 0)
        os.close(sibling.stdin)
    sys.argv = [sibling.name, str(sibling.lifeline), sibling.log]
    call_it(f"dask-{sibling.name}")
