"""A deadline for calls into MPI that wait for all ranks.

MPI_Init and a broadcast return when every rank has called them. A rank whose script
failed earlier never calls them, and its launcher may not mind. The call holds the
interpreter lock, so no thread or signal handler of Python can end it: another process
kills this one.
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

#: A program that waits for the end of its stdin. At the deadline it prints its third
#: argument and kills the process that waits. Ranks that print nothing give rank 0's
#: message a second more.
_WATCH = """\
import os, select, signal, sys
process, seconds, text = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
if not select.select([0], [], [], seconds + (not text))[0] and os.getppid() == process:
    sys.stderr.write(text)
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
        f"error: {what} did not return within {seconds:g} s",
        "  needed: this call in every rank",
        "  you can: look above for the error of a rank; or set a longer timeout=...",
    )
    text = "".join(f"{NAME}: {line}\n" for line in lines) if prints else ""
    with subprocess.Popen(
        [sys.executable, "-IS", "-c", _WATCH, str(os.getpid()), str(seconds), text],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        process_group=0,  # so that Ctrl-C does not reach it
    ):
        yield  # afterwards, leaving the with closes its stdin and waits for it
