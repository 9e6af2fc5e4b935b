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
from dask_runner.meeting import cluster_directory, record_file
from dask_runner.meeting.by_file import FileMeeting
from dask_runner.meeting.record import BadRecordError
from dask_runner.resources.private_directory import HeldDirectory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dask_runner.node.instructions import Published

#: A signal that only the top process acts on otherwise (``lifeline``). Forks inherit
#: the handler, which does nothing in them.
SIGNAL = signal.SIGUSR2


@contextlib.contextmanager
def ends_with(
    top: int, private: Path, forked: Mapping[int, str], published: Published | None
) -> Iterator[None]:
    """End this process with its parent, at once and with all that is to be removed.

    Parameters
    ----------
    top : int
        The parent.
    private : path
        The rank's directory.
    forked : mapping of int to str
        The processes that it has forked by now, which are killed: they would write
        into the directory.
    published : Published or None
        Where the parent's record may be.
    """
    ours, held = os.getpid(), HeldDirectory.at(private)

    def end(number: int, frame: object) -> None:
        del number, frame
        if os.getpid() == ours and os.getppid() != top:
            for pid in forked:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            held.remove()
            remove_record(published)
            os._exit(0)

    before = signal.signal(SIGNAL, end)
    linux.die_with_parent(SIGNAL)
    end(SIGNAL, None)  # it may have gone before
    yield
    if os.getpid() == ours:
        linux.die_with_parent(0)
    signal.signal(SIGNAL, before)
    held.close()


def remove_record(published: Published | None) -> None:
    """Remove the record of a rank 0 that was killed, wherever it is."""
    if published is None:
        return
    cluster_directory.remove_of(published.nonce, os.environ)
    paths = [Path(file) for file in published.files]
    meeting = FileMeeting(paths, published.key)
    meeting.adopt(published.nonce)
    meeting.withdraw()
    for path in paths:
        with contextlib.suppress(OSError, BadRecordError):
            record_file.clear(path, published.nonce)
