"""multiprocessing's fork server and resource tracker, for an agent that may lose them.

All workers of the node are children of the fork server. Where it is killed they live
on, children of the rank's top process then; what is here learns of their ends without
it, and starts another for those that are to come. The first one is a fork of the agent,
which has one thread then; a later one is a Python of its own that imports the same.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import multiprocessing.forkserver
import multiprocessing.popen_forkserver
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from dask_runner.node.child import deaf_at_first
from dask_runner.node.exits import UNKNOWN, Ended, birth, ended
from dask_runner.programs import fork, lifeline

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

logger = logging.getLogger("distributed")

#: ``main()`` of multiprocessing's fork server takes what follows its first three
#: arguments by keyword in each of these versions, and the class keeps its state
#: under the same names; another version gets the library's own start.
KNOWN = ((3, 11), (3, 12), (3, 13))

#: Seconds between two looks at a worker whose parent is gone.
LOOK = 0.2
#: Seconds for a fork server to end by itself, once nobody needs it.
ENDS = 1.0

#: The name of the fork server's socket.
NAME = "forks"


class Popen(multiprocessing.popen_forkserver.Popen):
    """A fork of the fork server, whose end is known also without the fork server.

    Its status is one message in a pipe. Several threads may ask for it at once, and
    only one can read it; the others take that one's word.
    """

    returncode: int | None

    def __init__(self, process: Any) -> None:
        self._asking = threading.Lock()
        self._birth = ""
        self._orphan = False
        super().__init__(process)

    def _launch(self, process: Any) -> None:
        super()._launch(process)  # type: ignore[misc]  # typeshed has it not
        self._birth = birth(self.pid)

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """Return its status; None if it is running, unless *flag* says to wait."""
        return self._status(0.0 if flag == os.WNOHANG else None)

    def wait(self, timeout: float | None = None) -> int | None:
        """Return its status; None if it is running after so many seconds."""
        return self._status(timeout)

    def _status(self, timeout: float | None) -> int | None:
        latest = None if timeout is None else time.monotonic() + timeout
        if self.returncode is None and not self._orphan:
            if not wait([self.sentinel], timeout):
                return None
            with self._asking:
                if self.returncode is None and not self._orphan:
                    self._read()
        while self.returncode is None:
            self.returncode = ended(self.pid, self._birth)
            if self.returncode is not None or (latest and time.monotonic() >= latest):
                break
            time.sleep(LOOK)
        return self.returncode

    def _read(self) -> None:
        try:
            self.returncode = multiprocessing.forkserver.read_signed(self.sentinel)
        except (OSError, EOFError):
            self._orphan = True
            if keeper is not None:
                keeper.missed()


class Keeper:
    """Has a fork server and a resource tracker at work.

    Parameters
    ----------
    log : str
        Where both complain. The fork server's socket is beside it, in a directory that
        only this user can enter.
    plan : dict
        What a later fork server is to import: ``preload_modules`` and ``added``.
    environ : dict
        Variables that it needs beside ours while it imports.
    """

    def __init__(self, log: str, plan: dict[str, Any], environ: dict[str, str]) -> None:
        # By a descriptor: the path of a UNIX socket has 107 bytes at most (unix(7)).
        self._directory = os.open(Path(log).parent, os.O_PATH | os.O_DIRECTORY)
        self._log = log
        self._plan = plan
        self._environ = environ
        self._over = False
        self._server: Any = multiprocessing.forkserver._forkserver  # noqa: SLF001
        #: Is called, in whatever thread, with how a fork server has ended.
        self.tell: Callable[[Ended], None] = _nothing

    # --- the fork server ----------------------------------------------------

    def start(self, foreign: Sequence[int]) -> None:
        """Fork the first one.

        It does what :meth:`multiprocessing.forkserver.ForkServer.ensure_running` does,
        but for the interpreter that this starts. *foreign* are descriptors that the
        fork server must not keep open.
        """
        with self._listening() as (listener, alive):
            pid = os.fork()
            if pid == 0:
                for descriptor in (self._server._forkserver_alive_fd, *foreign):  # noqa: SLF001
                    os.close(descriptor)
                serve(listener.detach(), alive)
        self._server._forkserver_pid = pid  # noqa: SLF001
        # Not in the fork server, nor in a worker: its own affairs are the library's.
        self._server.ensure_running = self._ensure_running
        multiprocessing.popen_forkserver.Popen = Popen  # type: ignore[misc,assignment]

    @contextlib.contextmanager
    def _listening(self) -> Iterator[tuple[socket.socket, int]]:
        """Make a socket for a new one, and the pipe by whose end it knows of ours."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(NAME, dir_fd=self._directory)
        address = f"/proc/self/fd/{self._directory}/{NAME}"
        alive_r, alive_w = os.pipe()
        try:
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(address)
                listener.listen()
                self._server._forkserver_address = address  # noqa: SLF001
                self._server._forkserver_alive_fd = alive_w  # noqa: SLF001
                yield listener, alive_r
        except BaseException:
            os.close(alive_w)
            raise
        finally:
            os.close(alive_r)

    def _ensure_running(self) -> None:
        with self._server._lock:  # noqa: SLF001
            if self._over:
                raise ChildProcessError(errno.ECHILD, "the fork server was stopped")
            resource_tracker.ensure_running()
            if self._server._forkserver_pid is not None:  # noqa: SLF001
                how = _end_of(self._server._forkserver_pid)  # noqa: SLF001
                if how is None:
                    return
                self._forget(how)
            self._start_again()

    def missed(self) -> None:
        """Start another one, as one of its children has seen that it is gone."""
        with self._server._lock:  # noqa: SLF001
            pid = self._server._forkserver_pid  # noqa: SLF001
            if self._over or pid is None:
                return
            # It may have closed its files and not have ended yet.
            how = _end_of(pid, patience=ENDS)
            if how is None:
                return  # another one is at work already
            self._forget(how)
            try:
                self._start_again()
            except OSError as error:
                # Who needs it next tries again, and hears why it cannot be.
                logger.warning("no fork server: %s", error)

    def _forget(self, how: Ended) -> None:
        os.close(self._server._forkserver_alive_fd)  # noqa: SLF001
        self._server._forkserver_pid = None  # noqa: SLF001
        logger.warning("the fork server %s", how)
        self.tell(how)

    def _start_again(self) -> None:
        with self._listening() as (listener, alive), deaf_at_first():
            given = {"alive": alive, "stderr": fork.users()}
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "dask_runner.programs.agent",
                    str(listener.fileno()),
                    self._log,
                    json.dumps({**self._plan, "forks": given}),
                ],
                env={**os.environ, **self._environ},
                stdin=subprocess.DEVNULL,
                pass_fds=(listener.fileno(), *given.values()),
            )
        self._server._forkserver_pid = process.pid  # noqa: SLF001
        # Waited for by its number, as the first one; not by whoever collects garbage.
        process.returncode = 0

    # --- both ---------------------------------------------------------------

    @property
    def pids(self) -> set[int]:
        """Both, as far as they are there."""
        tracker: Any = resource_tracker._resource_tracker  # noqa: SLF001
        both = (self._server._forkserver_pid, tracker._pid)  # noqa: SLF001
        return {pid for pid in both if pid}

    def stop(self, patience: float) -> None:
        """End the fork server, and start no other; after *patience* by force."""
        with self._server._lock:  # noqa: SLF001
            self._over = True
            pid = self._server._forkserver_pid  # noqa: SLF001
            if pid is None:
                return
            self._server._forkserver_pid = None  # noqa: SLF001
            os.close(self._server._forkserver_alive_fd)  # noqa: SLF001
            if _end_of(pid, patience) is None:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


#: The agent's; None in whatever has none, and in a Python that is not known.
keeper: Keeper | None = None


def try_semaphores() -> None:
    """Make one, as nannies do for each worker; none can be made without a /dev/shm.

    Raises
    ------
    OSError
    """
    # This context's are no business of the resource tracker.
    multiprocessing.get_context("fork").Lock()


def keep(
    log: str,
    plan: dict[str, Any],
    environ: dict[str, str],
    foreign: Sequence[int],
) -> None:
    """Start both, for this process and for as long as it lives; see :class:`Keeper`."""
    global keeper  # noqa: PLW0603  multiprocessing has one of each a process as well
    _protect_the_tracker()
    resource_tracker.ensure_running()
    if sys.version_info[:2] not in KNOWN:
        multiprocessing.forkserver.ensure_running()
        return
    started = Keeper(log, plan, environ)
    started.start(foreign)
    keeper = started


def stop(patience: float = ENDS) -> None:
    """End the fork server; after *patience* seconds by force."""
    if keeper is not None:
        keeper.stop(patience)
        return
    server: Any = multiprocessing.forkserver._forkserver  # noqa: SLF001
    with contextlib.suppress(FileNotFoundError):  # its directory is removed already
        server._stop()  # noqa: SLF001


def serve(listener: int, alive: int) -> NoReturn:
    """Be the fork server."""
    fork.call_it("dask-forkserver")
    try:
        multiprocessing.forkserver.main(listener, alive, [])
    finally:
        # The frames above this one may be the agent's, which goes on without us.
        os._exit(0)


def _protect_the_tracker() -> None:
    """Start it deaf to signals of which it would die: it is no code of ours.

    Where it is killed, the library starts another, and says so. Nobody can do
    anything about that.
    """
    tracker: Any = resource_tracker._resource_tracker  # noqa: SLF001
    for name in ("ensure_running", "_ensure_running_and_write"):
        if original := getattr(tracker, name, None):
            setattr(tracker, name, _deaf(original))
    resource_tracker.ensure_running = tracker.ensure_running


def _deaf(start: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, lifeline.BLOCKED)
        try:
            return start(*args)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    return call


def _end_of(pid: int, patience: float = 0.0) -> Ended | None:
    """Return how a child of ours has ended; None if it has not after some seconds."""
    latest = time.monotonic() + patience
    while True:
        try:
            found, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return Ended(UNKNOWN, known=False)
        if found:
            return Ended(os.waitstatus_to_exitcode(status))
        if time.monotonic() >= latest:
            return None
        time.sleep(0.01)


def _nothing(how: Ended) -> None:
    """Tell nobody."""
