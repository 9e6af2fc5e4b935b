"""A process that the agent forks, as its rank sees its end."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from dask_runner.node.child import Process
from dask_runner.node.events import Source
from dask_runner.node.exits import Ended

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from dask_runner.node.events import Event

SECONDS = 60
STATUS = 3


def ended(lifeline: int) -> subprocess.Popen[bytes]:
    """Return a process with a lifeline that has ended, and is not reaped."""
    line = [sys.executable, "-c", f"raise SystemExit({STATUS})"]
    child = subprocess.Popen(line, pass_fds=[lifeline])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    return child


def played(play: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(play, SECONDS))


def test_one_that_ends_before_its_birth_is_told_of_has_its_status() -> None:
    async def play() -> None:
        events: asyncio.Queue[Event] = asyncio.Queue()
        process = Process(Source.client, events)
        with await process.expect() as theirs:
            child = ended(theirs.fileno())
        # Its lifeline has ended, which is read in the next turns of the loop.
        await asyncio.sleep(0.1)
        assert process.running
        process.note_forked(child.pid)
        source, end = await events.get()
        assert source is Source.client
        assert isinstance(end, Ended)
        assert end.status == STATUS
        child.returncode = STATUS  # it has been reaped

    played(play())


def test_one_that_is_never_born_is_waited_for_only_as_long_as_is_said() -> None:
    async def play() -> None:
        events: asyncio.Queue[Event] = asyncio.Queue()
        process = Process(Source.client, events)
        (await process.expect()).close()
        await process.stop(0.0)
        assert not process.running
        assert events.empty()

    played(play())
