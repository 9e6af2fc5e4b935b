"""The user's script on its rank: its start, the job's signals to it, and its end.

With a runner in Python, the user's process runs the script. That process is the parent
of the top process and not its child.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Protocol

from dask_runner.hub import messages as m
from dask_runner.launch.signals import FOR_THE_SCRIPT
from dask_runner.node.exits import Ended

if TYPE_CHECKING:
    from dask_runner.wire.message import Message


class Client(Protocol):
    """The client as its rank sees it: a child process, or the user's process."""

    pid: int
    why: str

    @property
    def running(self) -> bool:
        """Whether it has begun and not ended."""

    def send(self, message: Message) -> None:
        """Send a message to the client."""

    def signal(self, number: int) -> None:
        """Send a signal to the client."""

    async def stop(self, patience: float, *, ask: Message | None) -> None:
        """End the client."""


class Script:
    """The script, as its rank starts, signals and ends it.

    Parameters
    ----------
    client : Client
        The process that runs the script.
    node : str
        The node of that process, for messages.
    above : bool
        Whether the process is the user's, and no child of this one.

    Attributes
    ----------
    is_due : bool
        Whether the cluster is ready, and the script begins once its program is read.
    """

    def __init__(self, client: Client, node: str, *, above: bool) -> None:
        self._client = client
        self._node = node
        self._above = above
        self.is_due = False
        self._begun = False
        self._signal = 0

    def begin(self, ready: m.Ready) -> None:
        """Start the script; send it a signal that came before it began."""
        self._begun = True
        self._client.send(ready)
        if self._signal:
            self._client.signal(self._signal)

    def signalled(self, number: int) -> m.ClientEnded | None:
        """Forward a signal that some rank has got; return whether that is the end.

        It is if the script is due and has not begun, and the signal would end it.
        """
        if number not in FOR_THE_SCRIPT:
            self._signal = number
        # Slurm signals the task alone, not what it has started (proctrack/cgroup).
        if self._begun:
            self._client.signal(number)
        ends = self.is_due and not self._begun and number not in FOR_THE_SCRIPT
        return m.ClientEnded(128 + number, "") if ends else None

    def ended(self, ended: Ended, *, awaited: bool) -> m.ClientEnded:
        """Return the message about its end, with a reason if the end is unexpected."""
        said = ""
        if ended.status == 128 + signal.SIGTERM:
            # As an exception in Python; the end is the same (programs.termination).
            ended = Ended(-signal.SIGTERM, ended.why)
        if ended.status < 0 and not self._signal and not awaited:
            said = f"the client on {self._node} {ended}"
        return m.ClientEnded(ended.shell_status, said)

    def vanished(self) -> m.ClientEnded:
        """Return the message about a user's process that is gone without a message."""
        # It is no child of this process: only its launcher knows how it ended.
        said = f"the client on {self._node} is gone: killed, or by os._exit"
        return m.ClientEnded(128 + signal.SIGKILL, said)

    async def stop(self, status: int, grace: float) -> None:
        """End the script, because the cluster ends with *status*."""
        if self._above:
            await self._client.stop(grace, ask=m.Close(status))
            return
        # It gets no more time if it got a signal before, or if it has not begun.
        spent = self._signal or not self._begun
        await self._client.stop(0.0 if spent else grace, ask=None)
