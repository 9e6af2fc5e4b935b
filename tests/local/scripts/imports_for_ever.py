"""Start a child that never comes to the end of its imports, as an agent may not."""

import os
import signal
import sys
from pathlib import Path

from dask_runner.programs import bereft


def _child(top: int) -> None:
    forked: dict[int, str] = {}
    with bereft.ends_with(top, Path(sys.argv[1]), forked):
        fork = os.fork()
        while fork == 0:
            signal.pause()
        forked[fork] = "birth"
        print(os.getpid(), fork, flush=True)
        while True:  # a signal ends a pause
            signal.pause()


own = os.getpid()
if os.fork() == 0:
    _child(own)
while True:
    signal.pause()
