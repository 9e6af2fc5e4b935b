"""The end of an agent whose top process dies while the agent imports.

The agent imports for a second, and reads nothing from its lifeline meanwhile. Where the
top process was the container's first, the image is unmounted within that second, and
later imports fail. So the kernel signals the death (prctl(2), PR_SET_PDEATHSIG), and
the agent removes the rank's directory, and the record of rank 0, with the modules that
it has by then.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner import linux
from dask_runner.hub import messages as m
from dask_runner.hub.channel import BlockingChannel
from dask_runner.meeting import cluster_directory
from dask_runner.meeting.by_file import FileMeeting
from dask_runner.meeting.record import Record
from dask_runner.resources.private_directory import HeldDirectory

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Mapping

#: A signal that only the top process acts on otherwise (``lifeline``). Forks inherit
#: the handler, which does nothing in them.
SIGNAL = signal.SIGUSR2


#: Seconds to read what the top process said before it died: the messages are there.
READ_SECONDS = 1.0


@contextlib.contextmanager
def ends_with(
    top: int, own: socket.socket, private: Path, forked: Mapping[int, str]
) -> Iterator[None]:
    """End this process with its parent, at once and with all that is to be removed.

    Parameters
    ----------
    top : int
        The parent.
    own : socket
        The lifeline, in which the parent may have said where its record is.
    private : path
        The rank's directory.
    forked : mapping of int to str
        The processes that it has forked by now, which are killed: they would write
        into the directory.
    """
    ours, held = os.getpid(), HeldDirectory.at(private)

    def end(number: int, frame: object) -> None:
        del number, frame
        if os.getpid() == ours and os.getppid() != top:
            for pid in forked:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            held.remove()
            own.settimeout(READ_SECONDS)
            while message := BlockingChannel(own).receive():
                if isinstance(message, m.Found):
                    remove_record(message)
            os._exit(0)

    before = signal.signal(SIGNAL, end)
    linux.die_with_parent(SIGNAL)
    end(SIGNAL, None)  # it may have gone before
    yield
    if os.getpid() == ours:
        linux.die_with_parent(0)
    signal.signal(SIGNAL, before)
    held.close()


def remove_record(found: m.Found) -> None:
    """Remove the record of a rank 0 that was killed; do nothing for other ranks."""
    if not found.record:
        return
    record = Record.load(found.record)
    cluster_directory.remove_of(record.nonce, os.environ)
    if found.files:
        meeting = FileMeeting(map(Path, found.files), record.key)
        meeting.adopt(record)
        meeting.withdraw()
