"""Start a child that never comes to the end of its imports, as an agent may not."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

from dask_runner.hub import messages as m
from dask_runner.hub.channel import BlockingChannel
from dask_runner.meeting.by_file import FileMeeting
from dask_runner.meeting.record import Record
from dask_runner.programs import bereft


def _child(top: int, lifeline: socket.socket) -> None:
    forked: dict[int, str] = {}
    with bereft.ends_with(top, lifeline, Path(sys.argv[1]), forked):
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
ours, theirs = socket.socketpair()
own = os.getpid()
if os.fork() == 0:
    ours.close()
    _child(own, theirs)
theirs.close()
BlockingChannel(ours).send(m.Found({}, record.dump(), list(meeting.files)))
while True:
    signal.pause()
