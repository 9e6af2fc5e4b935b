"""Forks of a process that has imported Dask, so that nobody imports it again.

A fork costs milliseconds and shares the memory of what was imported; an import
costs the better part of a second. The process must have one thread and no event
loop when it forks.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import multiprocessing.forkserver
import os
import socket
import sys
from multiprocessing import util
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dask_runner.processes import Sibling

_PR_SET_NAME = 15

#: ``main()`` of multiprocessing's fork server takes what follows its first three
#: arguments by keyword in each of these versions, and the class keeps its state
#: under the same names; another version gets the library's own start.
KNOWN = ((3, 11), (3, 12), (3, 13))

#: Bytes that the path of a UNIX socket may have (unix(7)).
LONGEST = 107


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


_users_stderr = -1


@contextlib.contextmanager
def complaints_to(log: str) -> Iterator[None]:
    """Let what multiprocessing starts complain into the log, not on the user's stderr.

    Its fork server and its resource tracker do, when someone whom they serve is
    killed. A worker gets the user's stderr back, for what its tasks print.
    """
    global _users_stderr  # noqa: PLW0603  forks find it
    _users_stderr = os.dup(2)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(file, 2)
    os.close(file)
    try:
        yield
    finally:
        os.dup2(_users_stderr, 2)


def users_stderr() -> None:
    """Write to the user's stderr again, in a worker."""
    os.dup2(_users_stderr, 2)
    os.close(_users_stderr)


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


def start_fork_server(private: str, foreign: Sequence[int]) -> None:
    """Fork multiprocessing's fork server, in place of starting one that imports.

    It does what :meth:`multiprocessing.forkserver.ForkServer.ensure_running` does,
    but for the interpreter that this starts.

    Parameters
    ----------
    private : str
        A directory that only this user can enter, for its socket.
    foreign : sequence of int
        Descriptors that it must not keep open.
    """
    if sys.version_info[:2] not in KNOWN:
        multiprocessing.forkserver.ensure_running()
        return
    with socket.socket(socket.AF_UNIX) as listener:
        address = str(Path(private) / "forks")
        if len(os.fsencode(address)) > LONGEST:
            address = str(Path(util.get_temp_dir()) / "forks")
        listener.bind(address)
        listener.listen()
        alive_r, alive_w = os.pipe()
        pid = os.fork()
        if pid == 0:
            call_it("dask-forkserver")
            for descriptor in (alive_w, *foreign):
                os.close(descriptor)
            _serve_forks(listener.detach(), alive_r)
        os.close(alive_r)
    server: Any = multiprocessing.forkserver._forkserver  # noqa: SLF001
    server._forkserver_address = address  # noqa: SLF001
    server._forkserver_alive_fd = alive_w  # noqa: SLF001
    server._forkserver_pid = pid  # noqa: SLF001


def _serve_forks(listener: int, alive: int) -> NoReturn:
    try:
        multiprocessing.forkserver.main(listener, alive, [])
    finally:
        # The frames above this one are the agent's, which goes on without us.
        os._exit(0)
