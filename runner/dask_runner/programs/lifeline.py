"""What the programs share: their end of the socket pair, and quiet logs."""

from __future__ import annotations

import asyncio
import contextlib
import logging.config
import os
import re
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dask_runner.errors import ConfigError, RunnerError
from dask_runner.hub import messages as m
from dask_runner.hub.channel import BlockingChannel, Channel, open_channel
from dask_runner.node.causes import in_words, refused, root
from dask_runner.node.child import FOR_THE_TOP
from dask_runner.resources.custody import Held

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

#: Signals that the library's own processes have no handlers for.
BLOCKED = (signal.SIGUSR1, signal.SIGUSR2)


def _socket() -> socket.socket:
    sock = socket.socket(fileno=int(sys.argv[1]))
    sock.set_inheritable(False)
    return sock


async def channel() -> Channel:
    """Return the lifeline for a program with an event loop."""
    return await open_channel(_socket())


def blocking_channel() -> BlockingChannel:
    """Return the lifeline for a program without one."""
    return BlockingChannel(_socket())


def leave_signals_to_the_top() -> None:
    """Do nothing about signals that are the top process's business.

    Slurm sends a signal to every process of the step; the top process decides
    what it means, and the lifeline tells. A handler, and not SIG_IGN, so that a
    program which a task starts has the default again.
    """
    for number in FOR_THE_TOP:
        signal.signal(number, _nothing)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, FOR_THE_TOP)


def _nothing(number: int, frame: object) -> None:
    """Handle a signal by doing nothing."""


async def expect(lifeline: Channel, kind: type[Any]) -> Any:
    """Wait for a message of one kind; others, and the end, end the program."""
    message = await lifeline.receive()
    if not isinstance(message, kind):
        # The top process is gone or on its way out.
        raise SystemExit(0)
    return message


def hear_signals() -> None:
    """Do about signals what a fresh Python does, after a fork."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, *BLOCKED):
        signal.signal(number, signal.SIG_DFL)


_users: list[str] = []


def look_at_logging() -> None:
    """Note, before Dask's defaults are loaded, whether the user configures logging."""
    import dask.config  # noqa: PLC0415  after the lifeline: importing takes a while

    _users.extend({"logging", "logging-file-config"} & dask.config.config.keys())


#: Bytes of a log, after which its older lines go; and those that stay. Whoever reaches
#: a port can have a line written for each connection that they spoil, as often as they
#: like, and the disk is the user's. The report of a failure shows the last lines.
LARGEST = 1 << 20
KEPT = 1 << 18


class LogFile(logging.FileHandler):
    """A log of bounded size, which a fork continues in another file."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line; where there are too many, leave out the older ones."""
        try:
            super().emit(record)
            # Where all have written so far: several processes may have this file.
            if self.stream is not None and self.stream.tell() > LARGEST:
                _shorten(Path(self.baseFilename))
        except OSError:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's
        """Lose what cannot be written: the disk is full, and stderr the user's."""

    def move(self, path: str) -> None:
        """Write what comes next to *path*."""
        self.acquire()
        try:
            self.close()
            self.baseFilename = os.path.abspath(path)  # noqa: PTH100  as logging does
        finally:
            self.release()


def _shorten(log: Path) -> None:
    # In place: who else writes into it appends, wherever its end is.
    with log.open("r+b") as file:
        file.seek(-KEPT, os.SEEK_END)
        file.readline()
        kept = file.read()
        file.seek(0)
        file.truncate()
        file.write(b"[older lines are left out]\n" + kept)


def log_to_file(path: str) -> None:
    """Let Dask log into the file that the rank names.

    A run's stderr belongs to the user's program. What Dask logs is kept until
    the end, for the report of a failure; a ``logging`` configuration of the
    user's own is left as it is.
    """
    if _users:
        return
    handlers = logging.getLogger("distributed").handlers
    files = [one for one in handlers if isinstance(one, LogFile)]
    for file in files:
        # One for all loggers. To configure them again costs a worker more than
        # anything else that it begins with: each level set clears each logger.
        file.move(path)
    if not files:
        logging.config.dictConfig(_to_file(path))


def configure(environ: Mapping[str, str]) -> None:
    """Let Dask read the cluster's variables."""
    import dask.config  # noqa: PLC0415  as above

    os.environ.update(environ)
    dask.config.refresh()


def secured(options: Mapping[str, Any], material: Sequence[str]) -> dict[str, Any]:
    """Return what a server of Dask's is made with: the keys as text, if there are any.

    The configuration names files, for programs that are started here.
    """
    from dask_runner.programs.dask_tls import as_security  # noqa: PLC0415  has Dask

    own = as_security(*material)
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


# Dask's own default levels (distributed.config), but for tornado and asyncio,
# whose last words at a connection's end are for the file as well.
_LEVELS = {
    "distributed": "INFO",
    "distributed.client": "WARNING",
    "bokeh": "ERROR",
    "tornado": "ERROR",
    "asyncio": "ERROR",
}


def did_not_start(what: str, error: BaseException, options: str) -> m.Failed:
    """Say that Dask refused what the user's options made of it, or the system did."""
    return failed(problem_with(what, error, options))


def problem_with(what: str, error: BaseException, options: str) -> RunnerError:
    """Return the same as an error."""
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
    """Return the message for an error."""
    return m.Failed(error.saw, error.needed, error.do, error.status)


#: The last line of a traceback.
_ERROR = re.compile(r"[\w.]+(Error|Exception|Exit)(: .*)?")


def last_words() -> str:
    """Return the last error in the log, for a sentence; "" if there is none."""
    try:
        lines = Path(sys.argv[2]).read_text(errors="replace").splitlines()
    except OSError:
        return ""
    error = next(filter(_ERROR.fullmatch, reversed(lines)), "")
    return error and f"; the last error in its log is {error}"


@contextlib.contextmanager
def logged() -> Iterator[None]:
    """Write an exception to the log, whose end the top process shows."""
    try:
        yield
    except Exception:  # noqa: BLE001  whatever it is
        # On a disk that is full there is no log; the top process says what it knows.
        with contextlib.suppress(OSError), Path(sys.argv[2]).open("a") as file:
            traceback.print_exc(file=file)
        raise SystemExit(1) from None


@contextlib.contextmanager
def told(own: socket.socket) -> Iterator[None]:
    """Write an exception to the log, and say it to the top process."""
    with logged():
        try:
            yield
        except Exception as error:
            problem = error if isinstance(error, RunnerError) else refused(error)
            if problem is not None:
                _say_and_be_heard(own, failed(problem))
            raise


#: Seconds for the top process to take note of why its agent ends.
HEARS = 5.0


def _say_and_be_heard(own: socket.socket, message: m.Failed) -> None:
    """Say it, and stay until the answer (``Ping``).

    Where the top process writes to one that is gone, what it has not read is lost.
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
    private = Held.at(Path(sys.argv[2]).parent) if top else Held(-1)
    leave_signals_to_the_top()
    try:
        with logged():
            asyncio.run(main())
    finally:
        if top and os.getppid() != top:
            from multiprocessing.util import Finalize  # noqa: PLC0415  the agent has it

            # After multiprocessing's own (-100), which may use a socket in there.
            Finalize(None, private.remove, exitpriority=-200)
