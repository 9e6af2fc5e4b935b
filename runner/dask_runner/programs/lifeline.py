"""What all programs share: the lifeline to the top process, signals and logs."""

from __future__ import annotations

import contextlib
import logging.config
import os
import re
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dask_runner.errors import ConfigError, RunnerError
from dask_runner.hub import messages as m
from dask_runner.node.child import FOR_THE_TOP
from dask_runner.node.system_errors import in_words, refused, root
from dask_runner.resources.private_directory import HeldDirectory
from dask_runner.wire import threads
from dask_runner.wire.channel import BlockingChannel, Channel, open_channel
from dask_runner.wire.message import Message

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dask_runner.node.instructions import Keys

T = TypeVar("T", bound=Message)

#: Signals that processes of multiprocessing do not handle.
BLOCKED = (signal.SIGUSR1, signal.SIGUSR2)


def _socket() -> socket.socket:
    sock = socket.socket(fileno=int(sys.argv[1]))
    sock.set_inheritable(False)
    return sock


async def channel() -> Channel:
    """Return the lifeline for a program with an event loop."""
    return await open_channel(_socket())


def blocking_channel() -> BlockingChannel:
    """Return the lifeline for a program without an event loop."""
    return BlockingChannel(_socket())


def leave_signals_to_the_top() -> None:
    """Ignore signals that the top process handles.

    Slurm sends a signal to every process of a step. The top process decides what
    follows, and reports it over the lifeline. This sets a handler and not SIG_IGN, so
    that a program that a task starts has the default again.
    """
    for number in FOR_THE_TOP:
        signal.signal(number, _nothing)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FOR_THE_TOP)


def _nothing(number: int, frame: object) -> None:
    """Do nothing about a signal."""


async def expect(lifeline: Channel, kind: type[T]) -> T:
    """Return a message of one kind; end the program after any other, or none."""
    message = await lifeline.receive()
    if not isinstance(message, kind):
        # The top process has ended, or is about to.
        raise SystemExit(0)
    return message


def hear_signals() -> None:
    """Reset signals after a fork to what a fresh Python does."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, *BLOCKED):
        signal.signal(number, signal.SIG_DFL)


_users: list[str] = []


def look_at_logging() -> None:
    """Note whether the user configures logging; called before Dask sets defaults."""
    import dask.config  # noqa: PLC0415  slow, and the lifeline comes first

    _users.extend({"logging", "logging-file-config"} & dask.config.config.keys())


#: Bytes of a log at which its older lines are dropped, and the bytes that are kept.
#: Anyone who reaches a port can cause a line for each connection that they break off,
#: and would fill the user's disk. The report of a failure shows the last lines.
LARGEST = 1 << 20
KEPT = 1 << 18


class LogFile(logging.FileHandler):
    """A log of limited size, which a fork can redirect to another file."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line; drop older lines if the log is too long."""
        try:
            super().emit(record)
            # tell() is the end of the file, to which several processes may append.
            if self.stream is not None and self.stream.tell() > LARGEST:
                _shorten(Path(self.baseFilename))
        except OSError:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's
        """Drop the line: the disk is full, and stderr belongs to the user."""

    def move(self, path: str) -> None:
        """Write all further lines to *path*."""
        self.acquire()
        try:
            self.close()
            self.baseFilename = os.path.abspath(path)  # noqa: PTH100  as logging does
        finally:
            self.release()


def _shorten(log: Path) -> None:
    # In place, because other processes append to the same file.
    with log.open("r+b") as file:
        file.seek(-KEPT, os.SEEK_END)
        file.readline()
        kept = file.read()
        file.seek(0)
        file.truncate()
        file.write(b"[older lines are left out]\n" + kept)


def log_to_file(path: str) -> None:
    """Direct Dask's log to the file that the rank names.

    stderr belongs to the user's program. Dask's log is kept until the end, for the
    report of a failure. If the user configures ``logging``, nothing is changed.
    """
    if _users:
        return
    handlers = logging.getLogger("distributed").handlers
    files = [one for one in handlers if isinstance(one, LogFile)]
    for file in files:
        # All loggers share this handler. Configuring them again would be the most
        # expensive step of a worker's start: each change of a level clears all caches.
        file.move(path)
    if not files:
        logging.config.dictConfig(_to_file(path))


def configure(environ: Mapping[str, str]) -> None:
    """Set the cluster's variables, and have Dask read them."""
    import dask.config  # noqa: PLC0415  as above

    os.environ.update(environ)
    dask.config.refresh()


def secured(options: Mapping[str, Any], keys: Keys) -> dict[str, Any]:
    """Return the options of a Dask server with the cluster's keys, as text.

    The configuration names files of the keys, for programs that tasks start.
    """
    from dask_runner.programs.dask_tls import as_security  # noqa: PLC0415  has Dask

    own = as_security(keys.certificate, keys.private_key)
    return {**({"security": own} if own else {}), **options}


def _to_file(path: str) -> dict[str, Any]:
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "plain": {"format": "%(asctime)s %(name)s %(levelname)s %(message)s"}
        },
        "handlers": {
            "file": {
                "()": LogFile,
                "filename": path,
                "formatter": "plain",
                "encoding": "utf-8",
                "errors": "backslashreplace",
                "delay": True,
            }
        },
        "loggers": {
            name: {"handlers": ["file"], "level": level, "propagate": False}
            for name, level in _LEVELS.items()
        },
    }


# Dask's default levels (distributed.config), and tornado and asyncio, which log errors
# when a connection ends.
_LEVELS = {
    "distributed": "INFO",
    "distributed.client": "WARNING",
    "bokeh": "ERROR",
    "tornado": "ERROR",
    "asyncio": "ERROR",
}


def did_not_start(what: str, error: BaseException, options: str) -> m.Failed:
    """Return the message that Dask, or the system, refused to start *what*."""
    return failed(problem_with(what, error, options))


def problem_with(what: str, error: BaseException, options: str) -> RunnerError:
    """Return the error that Dask, or the system, refused to start *what*."""
    if isinstance(error, RunnerError):
        return error
    if refusal := refused(error):
        return ConfigError(
            f"{what} did not start: {refusal.saw}", refusal.needed, refusal.do
        )
    # Dask's own text is "Scheduler failed to start."; the reason is its cause.
    return ConfigError(
        f"{what} did not start: {in_words(root(error))}",
        f"{what} that can start with the options given",
        f"check {options}",
    )


def failed(error: RunnerError) -> m.Failed:
    """Return an error as a message."""
    return m.Failed(error.saw, error.needed, error.do, error.status)


#: The last line of a traceback.
_ERROR = re.compile(r"[\w.]+(Error|Exception|Exit)(: .*)?")


def last_words() -> str:
    """Return the last error in the log as a clause; "" if there is none."""
    try:
        lines = Path(sys.argv[2]).read_text(errors="replace").splitlines()
    except OSError:
        return ""
    error = next(filter(_ERROR.fullmatch, reversed(lines)), "")
    return error and f"; the last error in its log is {error}"


@contextlib.contextmanager
def logged() -> Iterator[None]:
    """Write an exception to the log, of which the top process shows the last lines."""
    try:
        yield
    except Exception:  # noqa: BLE001  any error ends the program
        # On a full disk there is no log; the top process still reports the end.
        with contextlib.suppress(OSError), Path(sys.argv[2]).open("a") as file:
            traceback.print_exc(file=file)
        raise SystemExit(1) from None


@contextlib.contextmanager
def told(own: socket.socket) -> Iterator[None]:
    """Write an exception to the log, and report it to the top process."""
    with logged():
        try:
            yield
        except Exception as error:
            problem = error if isinstance(error, RunnerError) else refused(error)
            if problem is not None:
                _say_and_be_heard(own, failed(problem))
            raise


#: Seconds for the top process to read why its agent ends.
HEARS = 5.0


def _say_and_be_heard(own: socket.socket, message: m.Failed) -> None:
    """Send a message, and wait for the answer (``Ping``).

    If this process ended at once and the top process wrote to it, the message would be
    lost before the top process has read it.
    """
    own.settimeout(HEARS)
    channel = BlockingChannel(own)
    channel.send(message)
    while not isinstance(channel.receive(), m.Ping | None):
        pass


def run(main: Any, *, top: int = 0) -> None:
    """Run a program's coroutine function as its main.

    The program that is the last of its rank removes the rank's directory if the top
    process, whose number *top* is, has been killed and cannot.
    """
    private = HeldDirectory.at(Path(sys.argv[2]).parent) if top else HeldDirectory(-1)
    leave_signals_to_the_top()
    try:
        with logged():
            threads.run(main())
    finally:
        if top and os.getppid() != top:
            from multiprocessing.util import Finalize  # noqa: PLC0415  the agent has it

            # After multiprocessing's own (-100), which may use a socket in there.
            Finalize(None, private.remove, exitpriority=-200)
