"""The user's script on its rank: begun, given the job's signals, ended.

Where there is a process above (the library's way in), that one has the script, and
is no child of ours.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Protocol

from dask_runner.hub import messages as m
from dask_runner.hub.ending import PASSED_ON

if TYPE_CHECKING:
    from dask_runner.node.exits import Ended


class Client(Protocol):
    """The client as its rank sees it: a process of the crew, or the one above."""

    pid: int
    why: str

    @property
    def running(self) -> bool:
        """Whether it has begun and not ended."""

    def send(self, message: m.Message) -> None:
        """Send it a message."""

    def signal(self, number: int) -> None:
        """Send it a signal."""

    async def stop(self, patience: float, *, ask: m.Message | None) -> None:
        """End it."""


class Script:
    """What a rank knows of the script, and tells it.

    Parameters
    ----------
    client : Client
        The process that has it.
    node : str
        Where that is; for messages.
    above : bool
        Whether it is no child of ours.
    """

    def __init__(self, client: Client, node: str, *, above: bool) -> None:
        self._client = client
        self._node = node
        self._above = above
        self._begun = False
        self._signal = 0

    def begin(self, ready: m.Ready) -> None:
        """Tell it that all is ready, and of a signal that came before."""
        self._begun = True
        self._client.send(ready)
        if self._signal:
            self._client.signal(self._signal)

    def signalled(self, number: int) -> None:
        """Give it a signal that some rank got."""
        if number not in PASSED_ON:
            self._signal = number
        # Slurm signals the task alone, not what it has started (proctrack/cgroup).
        if self._begun:
            self._client.signal(number)

    def ended(self, ended: Ended, *, awaited: bool) -> m.ClientEnded:
        """Say how it ended; and why, if nobody has asked for it."""
        said = ""
        if ended.status < 0 and not self._signal and not awaited:
            said = f"the client on {self._node} {ended}"
        return m.ClientEnded(ended.shell_status, said)

    def vanished(self) -> m.ClientEnded:
        """Say that the process above is gone without a word."""
        # No child of ours: only its launcher knows how it ended.
        said = f"the client on {self._node} is gone: killed, or by os._exit"
        return m.ClientEnded(128 + signal.SIGKILL, said)

    async def stop(self, status: int, grace: float) -> None:
        """End it, where the cluster ends with *status*."""
        if self._above:
            await self._client.stop(grace, ask=m.Close(status))
            return
        # After a signal it has had its grace; before Ready it has not begun.
        spent = self._signal or not self._begun
        await self._client.stop(0.0 if spent else grace, ask=None)
