"""The failures of programs, in words: for the top process, and in the log."""

from __future__ import annotations

import contextlib
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner.errors import ConfigError, RunnerError
from dask_runner.hub import messages as m
from dask_runner.node.system_errors import in_words, refused, root
from dask_runner.wire.channel import BlockingChannel

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator


def did_not_start(what: str, error: BaseException, options: str) -> m.Failed:
    """Return the message that Dask, or the system, refused to start *what*."""
    return failed(problem_with(what, error, options))


def problem_with(what: str, error: BaseException, options: str) -> RunnerError:
    """Return the error that Dask, or the system, refused to start *what*."""
    if isinstance(found := root(error), RunnerError):
        return found
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
HEARS_SECONDS = 5.0


def _say_and_be_heard(own: socket.socket, message: m.Failed) -> None:
    """Send a message, and wait for the answer (``Ping``).

    If this process ended at once and the top process wrote to it, the message would be
    lost before the top process has read it.
    """
    own.settimeout(HEARS_SECONDS)
    channel = BlockingChannel(own)
    channel.send(message)
    while not isinstance(channel.receive(), m.Ping | None):
        pass
