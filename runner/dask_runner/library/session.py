"""One cluster, as the user's process lives through it in the library's way in.

It starts the rank's top process (:mod:`dask_runner.library.top`), hears from it when
all is ready, and takes the body of the ``with`` down when it says that the cluster
has ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

from dask_runner.hub import messages as m
from dask_runner.hub.channel import BlockingChannel
from dask_runner.launch.detect import may_be_outlived
from dask_runner.library.with_body import Body, end_with
from dask_runner.meeting import pmi_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dask_runner.library.instructions import RunTop
    from dask_runner.mpi.here import Exchange

#: Seconds beyond the grace for the rank's processes to end after the body.
END = 20.0

#: What Python does about signals that end a cluster. Other handlers are the program's.
_DEFAULTS: dict[int, Any] = {
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGINT: signal.default_int_handler,
}


class Session:
    """From entering one cluster to leaving it.

    Attributes
    ----------
    status : str
        "created", "starting", "running", "closing" or "closed".
    ready : Ready
        What there is to know of the cluster; nothing until it is ready.
    """

    def __init__(self) -> None:
        self.status = "created"
        self.ready = m.Ready("", "", 0)
        self._top: subprocess.Popen[bytes] | None = None
        self._channel: BlockingChannel | None = None
        self._body = Body()
        self._leaving = False

    def enter(self, run: RunTop, exchange: Exchange | None) -> None:
        """Start the rank's part; return in the client, when all is ready.

        Parameters
        ----------
        run : RunTop
            What the top process is told.
        exchange : callable, optional
            How this process carries the record, if it has a way.

        Raises
        ------
        SystemExit
            In all other ranks when the cluster has ended, and in the client if it
            could not begin.
        """
        self.status = "starting"
        # No MPI here has taken the launcher's socket, so the ranks meet over it.
        launcher = pmi_client.descriptor(os.environ) if exchange is None else None
        self._top, self._channel = _start([] if launcher is None else [launcher])
        _keep_watch(self._top, run)
        self._channel.send(run)
        # A broadcast by MPI would not hear them, and is ended by its launcher.
        top = self._top if exchange is None else None
        with _passing_signals_on(top):
            self._begin(self._channel, exchange)

    def _begin(self, channel: BlockingChannel, exchange: Exchange | None) -> None:
        while True:
            message = channel.receive()
            if isinstance(message, m.Relay):
                assert exchange is not None  # noqa: S101  RunTop says so
                channel.send(m.Relay(exchange(message.record or None)))
            elif isinstance(message, m.Ready):
                self.ready = message
                self.status = "running"
                self._body.begin()
                threading.Thread(target=self._watch, daemon=True).start()
                return
            else:
                # The end of the cluster, for all but a client that has begun.
                channel.send(m.ClientEnded(0, ""))
                raise SystemExit(self._wait())

    def leave(self, status: int) -> None:
        """End the cluster with the body's status.

        Raises
        ------
        SystemExit
            If the cluster has ended first, with its status.
        """
        if self._channel is None or self._leaving:
            return
        self._leaving = True
        self._body.over()
        self.status = "closing"
        self._channel.send(m.ClientEnded(status, ""))
        self._wait()
        self.status = "closed"
        if self._body.status:
            raise SystemExit(self._body.status)

    def _watch(self) -> None:
        """Interrupt the body when the cluster ends before it."""
        assert self._channel is not None  # noqa: S101  started
        message = self._channel.receive()
        while message is not None and not isinstance(message, m.Close):
            message = self._channel.receive()
        if not self._leaving:
            self._body.interrupt(message.status if isinstance(message, m.Close) else 69)

    def _wait(self) -> int:
        assert self._top is not None  # noqa: S101  started
        try:
            status = self._top.wait(END)
        except subprocess.TimeoutExpired:
            self._top.kill()
            status = self._top.wait()
        return status if status >= 0 else 128 - status


def _start(sockets: list[int]) -> tuple[subprocess.Popen[bytes], BlockingChannel]:
    """Start the rank's top process, which has the launcher's *sockets* from now on."""
    ours, theirs = socket.socketpair()
    with theirs, _blocked():
        top = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "dask_runner.library.top",
                str(theirs.fileno()),
                os.devnull,
            ],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno(), *sockets],
            process_group=0,
        )
    return top, BlockingChannel(ours)


@contextlib.contextmanager
def _blocked() -> Iterator[None]:
    """Let signals wait for a process that starts, until it hears them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _DEFAULTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _passing_signals_on(top: subprocess.Popen[bytes] | None) -> Iterator[None]:
    """Let the rank hear what ends this process, while that waits for its cluster."""

    def pass_on(number: int, frame: object) -> None:
        del frame
        if top is not None:
            top.send_signal(number)

    ours = []
    if top is not None and threading.current_thread() is threading.main_thread():
        ours = [one for one in _DEFAULTS if signal.getsignal(one) is _DEFAULTS[one]]
    for number in ours:
        signal.signal(number, pass_on)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, _DEFAULTS[number])


def _keep_watch(top: subprocess.Popen[bytes], run: RunTop) -> None:
    """End a top process that stands still, and this one with its launcher."""
    threading.Thread(
        target=end_with,
        args=(top, run.settings["silence"]),
        kwargs={"launched": may_be_outlived(run.world.launcher)},
        daemon=True,
    ).start()
