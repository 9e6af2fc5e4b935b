"""Keep multiprocessing's fork server and resource tracker running, if they are killed.

All workers of the node are children of the fork server. If it is killed they go on, as
children of the rank's top process. This module learns of their ends without the fork
server, and starts another one for the next workers. The first fork server is a fork of
the agent, which has one thread at that time; a later one is a new Python that imports
the same modules.

The module is long because all that uses private names of multiprocessing's fork server
is here, to be compared with that of a new Python in one reading.
"""

from __future__ import annotations

import contextlib
import errno
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

from dask_runner import linux
from dask_runner.node.child import command_of, deaf_at_first
from dask_runner.node.exits import UNKNOWN, Ended, birth, ended
from dask_runner.node.instructions import RunForkServer
from dask_runner.programs import carried, fork
from dask_runner.programs import resource_tracker as own_tracker
from dask_runner.wire.channel import BlockingChannel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dask_runner.node.instructions import Imports

logger = logging.getLogger("distributed")

#: Versions of Python whose fork server this module can replace: its ``main()`` takes
#: all but three arguments by keyword, and its class has the same private names. With
#: other versions, the library starts its own.
KNOWN_VERSIONS = ((3, 11), (3, 12), (3, 13))

#: Seconds between checks of a worker whose parent has ended: nobody is told of the end
#: of a process that is not its child, and old kernels have no pidfd.
LOOK_SECONDS = 0.2
#: Seconds for a fork server to end by itself, once no process needs it.
ENDS_SECONDS = 1.0

#: The name of the fork server's socket.
NAME = "forks"


class Popen(multiprocessing.popen_forkserver.Popen):
    """A fork of the fork server, whose end can be found without the fork server too.

    Its status is one message in a pipe. Several threads may want it at once, but only
    one can read it, and the others use what that one has read.
    """

    returncode: int | None

    def __init__(self, process: Any) -> None:
        self._asking = threading.Lock()
        self._birth = ""
        self._orphan = False
        super().__init__(process)

    def _launch(self, process: Any) -> None:
        super()._launch(process)  # type: ignore[misc]  # it is missing in typeshed
        self._birth = birth(self.pid)

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """Return its status; None if it is running and *flag* says not to wait."""
        return self._status(0.0 if flag == os.WNOHANG else None)

    def wait(self, timeout: float | None = None) -> int | None:
        """Return its status; None if it is still running after *timeout* seconds."""
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
            time.sleep(LOOK_SECONDS)
        return self.returncode

    def _read(self) -> None:
        try:
            self.returncode = multiprocessing.forkserver.read_signed(self.sentinel)
        except (OSError, EOFError):
            self._orphan = True
            if keeper is not None:
                keeper.missed()


class Keeper:
    """Keeps a fork server and a resource tracker running.

    Parameters
    ----------
    log : str
        The log of both. The fork server's socket is beside it, in a directory that only
        this user can enter.
    imports : Imports
        The imports of a later fork server.
    environ : dict
        More variables that it needs while it imports.
    """

    def __init__(self, log: str, imports: Imports, environ: dict[str, str]) -> None:
        # A descriptor, because the path of a Unix socket has 107 bytes at most
        # (unix(7)).
        self._directory = os.open(Path(log).parent, os.O_PATH | os.O_DIRECTORY)
        self._log = log
        self._imports = imports
        self._environ = environ
        self._over = False
        self._server: Any = multiprocessing.forkserver._forkserver  # noqa: SLF001
        #: Is called, in any thread, with the end of a fork server.
        self.tell: Callable[[Ended], None] = _nothing

    # --- the fork server ----------------------------------------------------

    def start(self, foreign: Sequence[int]) -> None:
        """Fork the first fork server.

        This replaces :meth:`multiprocessing.forkserver.ForkServer.ensure_running`,
        which would start a new interpreter. *foreign* are descriptors that the fork
        server must not keep open.
        """
        with self._listening() as (listener, alive):
            pid = os.fork()
            if pid == 0:
                for descriptor in (self._server._forkserver_alive_fd, *foreign):  # noqa: SLF001
                    os.close(descriptor)
                serve(listener.detach(), alive)
        self._server._forkserver_pid = pid  # noqa: SLF001
        # Only in the agent: in the fork server and in workers the library's own remain.
        self._server.ensure_running = self._ensure_running
        multiprocessing.popen_forkserver.Popen = Popen  # type: ignore[misc,assignment]

    @contextlib.contextmanager
    def _listening(self) -> Iterator[tuple[socket.socket, int]]:
        """Yield a new fork server's socket, and a pipe that closes with the agent."""
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
        """Start another fork server, if this one has ended; its child has noticed."""
        with self._server._lock:  # noqa: SLF001
            pid = self._server._forkserver_pid  # noqa: SLF001
            if self._over or pid is None:
                return
            # It may have closed its files, and end a moment later.
            how = _end_of(pid, patience=ENDS_SECONDS)
            if how is None:
                return  # another one is running already
            self._forget(how)
            try:
                self._start_again()
            except OSError as error:
                # The next caller tries again, and gets the error.
                logger.warning("no fork server: %s", error)

    def _forget(self, how: Ended) -> None:
        os.close(self._server._forkserver_alive_fd)  # noqa: SLF001
        self._server._forkserver_pid = None  # noqa: SLF001
        logger.warning("the fork server %s", how)
        self.tell(how)

    def _start_again(self) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs, self._listening() as (listener, alive), deaf_at_first():
            given = listener.fileno(), alive, fork.users(), carried.descriptor()
            BlockingChannel(ours).send(RunForkServer(self._imports, *given))
            process = subprocess.Popen(
                command_of("programs.agent", theirs, self._log),
                env={**os.environ, **self._environ},
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), *filter(_is_open, given)),
            )
        self._server._forkserver_pid = process.pid  # noqa: SLF001
        # This class waits for its ID, as for the first one. Popen must not do so too.
        process.returncode = 0

    # --- both ---------------------------------------------------------------

    @property
    def pids(self) -> set[int]:
        """The IDs of both processes, as far as they are running."""
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


#: The agent's keeper; None in other processes, and in other versions of Python.
keeper: Keeper | None = None


def try_semaphores() -> None:
    """Make a semaphore, as nannies do for each worker.

    Raises
    ------
    OSError
        If there is no usable /dev/shm.
    """
    # The resource tracker does not track semaphores of this context.
    multiprocessing.get_context("fork").Lock()


def keep(
    log: str,
    imports: Imports,
    environ: dict[str, str],
    foreign: Sequence[int],
) -> None:
    """Start both, and keep them running while this process lives."""
    global keeper  # noqa: PLW0603  multiprocessing has one of each per process as well
    own_tracker.protect()
    if sys.version_info[:2] not in KNOWN_VERSIONS:
        resource_tracker.ensure_running()
        multiprocessing.forkserver.ensure_running()
        return
    own_tracker.fork()
    started = Keeper(log, imports, environ)
    started.start(foreign)
    keeper = started


def stop(patience: float = ENDS_SECONDS) -> None:
    """End the fork server; after *patience* seconds by force."""
    if keeper is not None:
        keeper.stop(patience)
        return
    server: Any = multiprocessing.forkserver._forkserver  # noqa: SLF001
    with contextlib.suppress(FileNotFoundError):  # its directory is removed already
        server._stop()  # noqa: SLF001


def serve(listener: int, alive: int) -> NoReturn:
    """Run as the fork server."""
    linux.name_process("dask-forkserver")
    try:
        multiprocessing.forkserver.main(listener, alive, [])
    finally:
        # The frames above may be the agent's, whose code must not run in this fork.
        os._exit(0)


def _end_of(pid: int, patience: float = 0.0) -> Ended | None:
    """Return how a child has ended; None if it runs after *patience* seconds."""
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
        # waitpid(2) has no time limit, and the one for signals is the whole process's.
        time.sleep(0.01)


def _is_open(descriptor: int) -> bool:
    return descriptor >= 0


def _nothing(how: Ended) -> None:
    """Do nothing."""
