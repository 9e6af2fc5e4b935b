"""The agent's process, forked from its leader before that knows its part.

A fresh Python, and the modules that agent and leader share, are a third of what an
agent costs until it has Dask; and the leader has them. So a leader forks its agent when
it has imported its own modules, and the agent imports Dask while the leader looks for
the others (:mod:`dask_runner.programs.early_agent`). It is told later what a fresh one
is started with (:mod:`dask_runner.node.start_agent`).

The workers of all nodes have to hash alike, so only a leader whose Python has the seed
that agents are started with can do this. An image's ``dask-runner`` sets it, and
``dask-runner -n``; others start a fresh Python.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from typing import TYPE_CHECKING

from dask_runner.node.instructions import Gives
from dask_runner.wire.channel import BlockingChannel

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dask_runner.node.instructions import Makes


class EarlyAgent:
    """A process that waits to be the agent.

    Attributes
    ----------
    pid : int
    lifeline : socket
    """

    def __init__(self, pid: int, lifeline: socket.socket, said: int) -> None:
        self.pid = pid
        self.lifeline = lifeline
        self._said = said

    def tell(self, makes: Makes) -> None:
        """Tell it what to remove if this process is killed."""
        BlockingChannel(self.lifeline).send(makes)

    def give(self, descriptors: Sequence[int], log: int) -> None:
        """Send it these descriptors, and its log's, unless it has ended."""
        BlockingChannel(self.lifeline).send(Gives(list(descriptors)))
        with contextlib.suppress(OSError):
            socket.send_fds(self.lifeline, [b"\0"], [*descriptors, log])

    def keep(self, log: Path) -> None:
        """Write to its log what it has said before it knew where that is."""
        with contextlib.suppress(OSError), log.open("ab") as file:  # the disk is full
            file.write(os.pread(self._said, os.fstat(self._said).st_size, 0))

    def give_up(self) -> None:
        """End it, because this process needs no agent."""
        self.lifeline.close()
        os.close(self._said)
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


def fork() -> EarlyAgent | socket.socket | None:
    """Fork the agent's process.

    Returns
    -------
    EarlyAgent, socket or None
        The process; in that process its lifeline; None if the system refuses.
    """
    with contextlib.ExitStack() as opened:
        try:
            said = os.memfd_create("agent")
            opened.callback(os.close, said)
            ours, theirs = map(opened.enter_context, socket.socketpair())
            pid = os.fork()
        except OSError:
            return None  # a fresh one may be refused as well, and then that is told
        opened.pop_all()
    if pid:
        theirs.close()
        with contextlib.suppress(OSError):  # it has done so itself, or has ended
            os.setpgid(pid, pid)
        return EarlyAgent(pid, ours, said)
    ours.close()
    os.setpgid(0, 0)
    os.dup2(said, 2)
    os.close(said)
    return theirs
