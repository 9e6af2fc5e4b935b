"""Fork a process that has imported Dask, so that no other process imports it.

A fork costs milliseconds and shares the memory of the imported modules; an import costs
the better part of a second. The process must have one thread and no event loop when it
forks.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from dask_runner import linux

if TYPE_CHECKING:
    from collections.abc import Callable

    from dask_runner.node.child import Sibling


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
    """Return the descriptor of the user's stderr."""
    return _users_stderr


def users_stderr() -> None:
    """Direct stderr to the user's stderr again."""
    global _log  # noqa: PLW0603  see quiet_again
    _log = os.dup(2)
    os.dup2(_users_stderr, 2)
    os.close(_users_stderr)


def quiet_again() -> None:
    """Direct stderr to the log again."""
    os.dup2(_log, 2)


def fork(between: Callable[[], None] | None = None) -> int:
    """Fork a child of this process's subreaper (prctl(2)), the rank's top process.

    A process between the two ends at once. So the child outlives this process, and the
    top process waits for it. The child goes on when its parent has ended.

    Parameters
    ----------
    between : callable, optional
        What that process does first, for its child.

    Returns
    -------
    int
        The child's process ID; 0 in the child.
    """
    told, tell = os.pipe()
    wait, go = os.pipe()
    middle = os.fork()
    if middle == 0:
        if between is not None:
            between()
        pid = os.fork()
        if pid:
            # It gets its own process group before any other process knows its ID.
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
    """Set this process up as a fresh Python that was started as that program."""
    if sibling.stdin >= 0:
        # sys.stdin of the interpreter reads descriptor 0.
        os.dup2(sibling.stdin, 0)
        os.close(sibling.stdin)
    sys.argv = [sibling.name, str(sibling.lifeline), sibling.log]
    linux.name_process(f"dask-{sibling.name}")
