"""Make the archive of a cluster's packages, or unpack it on a node.

The process receives ``BuildPackages``, on one node, and answers ``Resolving`` where the
cache has no such archive, and ``Built``; then ``UnpackPackages``, and answers
``Unpacked``, which is its end. Where that is not possible the answer is ``Failed``. The
rank ends it by SIGHUP at any time: what it has left on a shared disk by then is
removed.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner import linux
from dask_runner.errors import RunnerError
from dask_runner.node import messages as n
from dask_runner.node.instructions import BuildPackages, UnpackPackages
from dask_runner.node.system_errors import problem, refused
from dask_runner.packages import archive, installed
from dask_runner.packages.build import build
from dask_runner.packages.cache import unusable
from dask_runner.programs import failures, lifeline

if TYPE_CHECKING:
    from dask_runner.wire.channel import BlockingChannel
    from dask_runner.wire.message import Message


def main() -> None:
    """Do what the rank says, once."""
    signal.signal(signal.SIGHUP, _end)
    linux.die_with_parent(signal.SIGKILL)
    lifeline.leave_signals_to_the_top()
    channel = lifeline.blocking_channel()
    with failures.logged():
        while isinstance(run := channel.receive(), BuildPackages | UnpackPackages):
            channel.send(_answer(run, channel))
            if isinstance(run, UnpackPackages):
                break


def _answer(run: BuildPackages | UnpackPackages, channel: BlockingChannel) -> Message:
    try:
        if isinstance(run, BuildPackages):
            return _built(run, channel)
        return _unpacked(run)
    except (RunnerError, OSError) as error:
        return failures.failed(problem(error))


def _built(run: BuildPackages, channel: BlockingChannel) -> n.Built:
    built = build(
        run.requested,
        run.cache,
        Path(run.scratch),
        os.environ,
        lambda: channel.send(n.Resolving()),
    )
    return n.Built(built.path, built.key, len(built.packages), built.seconds)


def _unpacked(run: UnpackPackages) -> n.Unpacked:
    path, into = Path(run.path), Path(run.into)
    try:
        archive.unpack(path, run.key, installed.binary_interface(), into)
    except archive.BadArchiveError as error:
        raise unusable(path, error) from error
    except OSError as error:
        # A full disk is that of the node: nothing is written into the archive.
        raise refused(error, str(into.parent)) or unusable(path, error) from error
    return n.Unpacked()


def _end(number: int, frame: object) -> None:
    del frame
    raise SystemExit(128 + number)
