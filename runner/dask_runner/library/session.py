"""One cluster in the user's process, from entering the ``with`` to leaving it.

The session starts the rank's top process (:mod:`dask_runner.library.top`), waits for
its message that the cluster is ready, and interrupts the body of the ``with`` when the
top process reports that the cluster has ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dask_runner.hub import messages as m
from dask_runner.launch.detect import may_be_outlived
from dask_runner.launch.own_variables import CLUSTER_VARIABLE
from dask_runner.library.with_body import Body, end_with
from dask_runner.meeting import pmi_client
from dask_runner.node import messages as n
from dask_runner.node.child import command_of
from dask_runner.programs import added_packages, by_lines
from dask_runner.programs.termination import Termination
from dask_runner.wire.channel import BlockingChannel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dask_runner.library.instructions import RunTop
    from dask_runner.mpi.here import Exchange

#: Seconds for the top process to end after the body.
END_SECONDS = 20.0

#: Python's own handlers of the signals that end a cluster. Any other handler is the
#: program's, and stays.
_DEFAULT_HANDLERS: dict[int, Any] = {
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGINT: signal.default_int_handler,
}


@dataclass(frozen=True, slots=True)
class Top:
    """The rank's top process, and the connection with it."""

    process: subprocess.Popen[bytes]
    channel: BlockingChannel

    def wait(self) -> int:
        """Wait for its end, for a limited time; return its exit status."""
        try:
            status = self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        return status if status >= 0 else 128 - status


class Session:
    """One cluster, from entering it to leaving it.

    Attributes
    ----------
    status : str
        "created", "starting", "running", "closing" or "closed".
    ready : Ready
        The cluster's address, keys and size; empty until the cluster is ready.
    """

    def __init__(self) -> None:
        self.status = "created"
        self.ready = m.Ready("", "", 0)
        self._top: Top | None = None
        self._body = Body()
        #: What SIGTERM does in the body.
        self.termination = Termination()
        self._leaving = False
        self._outer = os.environ.get(CLUSTER_VARIABLE)

    def enter(
        self, run: RunTop, exchange: Exchange | None, placed: Callable[[int], None]
    ) -> None:
        """Start this rank; return in the client, when the cluster is ready.

        Parameters
        ----------
        run : RunTop
            The instructions for the top process.
        exchange : callable, optional
            Broadcasts the record, if this process does that itself.
        placed : callable
            Is told the rank, if it was not known.

        Raises
        ------
        SystemExit
            In all other ranks when the cluster has ended, and in the client if the
            cluster could not start.
        """
        self.status = "starting"
        # No MPI in this process uses the launcher's socket, so the ranks meet over it.
        launcher = pmi_client.descriptor(os.environ) if exchange is None else None
        self._top = top = _start([] if launcher is None else [launcher])
        _keep_watch(top.process, run)
        top.channel.send(run)
        # An MPI broadcast blocks the handler; there the launcher ends the ranks.
        with _forward_signals(top.process if exchange is None else None):
            self._begin(top, exchange, placed)

    def _begin(
        self, top: Top, exchange: Exchange | None, placed: Callable[[int], None]
    ) -> None:
        while True:
            message = top.channel.receive()
            if isinstance(message, n.Relay) and exchange is not None:
                top.channel.send(n.Relay(exchange(message.record or None)))
            elif isinstance(message, n.Placed):
                placed(message.rank)
            elif isinstance(message, m.Ready):
                self.ready = message
                # What attaches without a name means this cluster, as in a script.
                os.environ[CLUSTER_VARIABLE] = message.nonce
                if message.packages:
                    added_packages.use(message.packages)
                self.status = "running"
                self._body.begin()
                watch = threading.Thread(target=self._watch, args=[top], daemon=True)
                watch.start()
                return
            else:
                # The cluster has ended: in other ranks after its life, in the client
                # because it could not start.
                top.channel.send(m.ClientEnded(0, ""))
                raise SystemExit(top.wait())

    def begin(self) -> None:
        """Begin the body, in its own thread."""
        by_lines.print_by_lines()
        self.termination.begin()

    def leave(self, status: int) -> None:
        """End the cluster with the body's status.

        Raises
        ------
        SystemExit
            With the cluster's status, if the cluster has ended before the body.
        """
        if self._top is None or self._leaving:
            return
        self._leaving = True
        self._body.over()
        self.status = "closing"
        self._top.channel.send(m.ClientEnded(status, ""))
        self._top.wait()
        _set(CLUSTER_VARIABLE, self._outer)
        self.status = "closed"
        if self._body.status:
            raise SystemExit(self._body.status)

    def _watch(self, top: Top) -> None:
        """Interrupt the body when the cluster ends first."""
        message = top.channel.receive()
        while message is not None and not isinstance(message, m.Close):
            message = top.channel.receive()
        if not self._leaving:
            self._body.interrupt(message.status if isinstance(message, m.Close) else 69)


def _set(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _start(sockets: list[int]) -> Top:
    """Start the rank's top process, which inherits the launcher's *sockets*."""
    ours, theirs = socket.socketpair()
    with theirs, _signals_blocked():
        top = subprocess.Popen(
            command_of("library.top", theirs, os.devnull),
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno(), *sockets],
            process_group=0,
        )
    return Top(top, BlockingChannel(ours))


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block signals, so that a new process gets them only when it can handle them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _DEFAULT_HANDLERS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _forward_signals(top: subprocess.Popen[bytes] | None) -> Iterator[None]:
    """Forward SIGTERM and SIGINT to the top process while this one waits for it."""

    def forward(number: int, frame: object) -> None:
        del frame
        if top is not None:
            top.send_signal(number)

    ours = []
    if top is not None and threading.current_thread() is threading.main_thread():
        ours = [
            number
            for number, default in _DEFAULT_HANDLERS.items()
            if signal.getsignal(number) is default
        ]
    for number in ours:
        signal.signal(number, forward)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, _DEFAULT_HANDLERS[number])


def _keep_watch(top: subprocess.Popen[bytes], run: RunTop) -> None:
    """Kill the top process if it is stopped; end this process with its launcher."""
    threading.Thread(
        target=end_with,
        args=(top, run.settings["silence"]),
        kwargs={"launched": may_be_outlived(run.world.launcher)},
        daemon=True,
    ).start()
