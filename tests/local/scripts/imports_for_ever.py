"""Start a child that never comes to the end of its imports, as an agent may not."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from dask_runner.meeting.by_file import FileMeeting
from dask_runner.meeting.record import Record
from dask_runner.node.instructions import Published
from dask_runner.programs import orphaned_agent


def _child(top: int, published: Published) -> None:
    forked: dict[int, str] = {}
    with orphaned_agent.ends_with(top, Path(sys.argv[1]), forked, published):
        fork = os.fork()
        while fork == 0:
            signal.pause()
        forked[fork] = "birth"
        print(os.getpid(), fork, flush=True)
        while True:  # a signal ends a pause
            signal.pause()


record = Record("test.1", "ab" * 16, "c1", "127.0.0.1", 40000, "CERT", "KEY")
meeting = FileMeeting([Path(sys.argv[2])], record.key)
asyncio.run(meeting.publish(record))
own = os.getpid()
if os.fork() == 0:
    _child(own, Published(record.key, record.nonce, tuple(meeting.files)))
while True:
    signal.pause()
