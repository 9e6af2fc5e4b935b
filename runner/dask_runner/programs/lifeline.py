"""What all programs share: the lifeline to the top process, its signals and keys."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dask_runner.launch.signals import FOR_THE_SCRIPT, FOR_THE_TOP
from dask_runner.programs.failures import logged
from dask_runner.resources.private_directory import HeldDirectory
from dask_runner.wire import threads
from dask_runner.wire.channel import BlockingChannel, Channel, open_channel
from dask_runner.wire.message import Message

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dask_runner.node.instructions import Keys

T = TypeVar("T", bound=Message)


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
    for number in (signal.SIGTERM, *FOR_THE_SCRIPT):
        signal.signal(number, signal.SIG_DFL)


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
