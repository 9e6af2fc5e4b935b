"""A deadline for calls into MPI that wait for all ranks.

MPI_Init and a broadcast return when every rank has called them. A rank whose script
failed before never does, its launcher may see nothing wrong with that, and the call
holds the interpreter: no thread and no signal handler of Python can end the wait.
So another process does.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from dask_runner.hub.report import NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Waits for the end of its stdin; at the deadline says what it is told to say, and
#: kills the process that waits in vain. The others' leave rank 0's time to speak.
_WATCH = """\
import os, select, signal, sys
process, seconds, says = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
if not select.select([0], [], [], seconds + (not says))[0] and os.getppid() == process:
    sys.stderr.write(says)
    sys.stderr.flush()
    os.kill(process, signal.SIGKILL)
"""


@contextlib.contextmanager
def within(seconds: float, what: str, *, prints: bool) -> Iterator[None]:
    """Kill this process if the block takes longer.

    Parameters
    ----------
    seconds : float
    what : str
        The call, for the message.
    prints : bool
        Whether this process is the one of its job that prints the message.
    """
    lines = (
        f"error: {what} did not come back within {seconds:g} s",
        "  needed: all ranks, each of which comes as far as this",
        "  you can: look for an error of one of them above; give more with timeout=...",
    )
    text = "".join(f"{NAME}: {line}\n" for line in lines) if prints else ""
    with subprocess.Popen(
        [sys.executable, "-IS", "-c", _WATCH, str(os.getpid()), str(seconds), text],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        process_group=0,  # Ctrl-C is not for it
    ):
        yield  # and then its stdin is closed, and its end waited for
