"""Have what a process prints carried to the launcher by the carrier of its node.

stdout and stderr become pipes. The carrier (:mod:`dask_runner.programs.carrier`) gets
their other ends. So what C libraries print, and processes that a task starts, is
carried as well; and what is in the pipes outlives a process that is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys

from dask_runner.resources import open_files

#: What asks the carrier to write what it can read; it then closes the descriptor that
#: comes with it.
WRITE_NOW = b"write"

#: Seconds for the carrier to do so; the reader of a job's output may not read.
WRITE_SECONDS = 1.0

#: The socket between agent and carrier: in the carrier its own end, and the other in
#: the agent and its forks.
_carrier: socket.socket | None = None


def hold(carrier: socket.socket) -> None:
    """Use a socket to the carrier, here and in forks."""
    global _carrier  # noqa: PLW0603  forks find it
    carrier.set_inheritable(False)
    _carrier = carrier


def held() -> socket.socket:
    """Return the socket."""
    if _carrier is None:
        raise LookupError("there is no socket")
    return _carrier


def let_go() -> None:
    """Close the socket: this process prints to the launcher itself."""
    global _carrier  # noqa: PLW0603  as above
    if _carrier is not None:
        _carrier.close()
        _carrier = None


def descriptor() -> int:
    """Return the socket's descriptor; -1 if there is none."""
    return -1 if _carrier is None else _carrier.fileno()


def carry(label: str, copy: str = "") -> None:
    """Have all that this process prints from now on carried.

    If the carrier is lost, the process prints to the launcher again, without label. It
    hears that in its event loop.

    Parameters
    ----------
    label : str
        Before each line; empty for none.
    copy : str
        A file that gets the lines as well, without label; empty for none.
    """
    if _carrier is None or not (label or copy):
        return
    pipes = os.pipe(), os.pipe()
    (out, our_out), (err, our_err) = pipes
    ours, theirs = socket.socketpair()
    try:
        about = json.dumps([label, copy]).encode()
        given = [out, err, theirs.fileno()]
        socket.send_fds(_carrier, [about], given, socket.MSG_DONTWAIT)
    except OSError:  # it is lost, or stands still
        ours.close()
        for end in (*pipes[0], *pipes[1]):
            os.close(end)
        return
    finally:
        theirs.close()
    kept = ours.detach(), os.dup(1), os.dup(2), out, err
    there, old_out, old_err, out, err = map(open_files.out_of_the_way, kept)
    _print_to(our_out, our_err)
    loop = asyncio.get_running_loop()

    def lost() -> None:
        loop.remove_reader(there)
        os.close(there)
        # What the carrier has not read; no line is lost, and no print() fails. Tasks
        # print meanwhile: what comes later is not to be before that, so most of it is
        # written first, and the rest when it can grow no more.
        for pipe, to in (out, old_out), (err, old_err):
            _pour(pipe, to)
        _print_to(old_out, old_err)
        for pipe, to in (out, 1), (err, 2):
            _pour(pipe, to)
            os.close(pipe)

    loop.add_reader(there, lost)


def _print_to(out: int, err: int) -> None:
    """Direct stdout and stderr to descriptors, and close these."""
    for stream in (sys.stdout, sys.stderr):
        # None where it was closed.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    for number, to in ((1, out), (2, err)):
        os.dup2(to, number)
        os.close(to)


def _pour(pipe: int, to: int) -> None:
    """Write what is in a pipe."""
    os.set_blocking(pipe, False)
    with contextlib.suppress(OSError):  # it is empty; or nobody reads what is written
        while piece := os.read(pipe, 1 << 16):
            os.write(to, piece)


async def written() -> None:
    """Wait until what has been printed by now is written, but not long."""
    if _carrier is None:
        return
    ours, theirs = os.pipe()
    try:
        try:
            socket.send_fds(_carrier, [WRITE_NOW], [theirs], socket.MSG_DONTWAIT)
        except OSError:
            return  # as above
        finally:
            os.close(theirs)
        done, loop = asyncio.Event(), asyncio.get_running_loop()
        loop.add_reader(ours, done.set)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WRITE_SECONDS):
                    await done.wait()
        finally:
            loop.remove_reader(ours)
    finally:
        os.close(ours)
