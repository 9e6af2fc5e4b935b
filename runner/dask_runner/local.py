"""``dask-runner -n 4 script.py``: this process is the launcher of local ranks.

They are started with the same command and go through the same stages as the
ranks of any launcher.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
from typing import TYPE_CHECKING

from dask_runner import custody
from dask_runner.causes import problem
from dask_runner.deaths import Ended
from dask_runner.follower import hear_signals
from dask_runner.orphans import end_orphans
from dask_runner.record_file import PRIVATE
from dask_runner.report import say

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Where the local ranks meet.
DIRECTORY = "DASKRUNNER_DIRECTORY"

_PR_SET_PDEATHSIG = 1  # prctl(2)

#: Seconds for the other ranks to end by themselves once rank 0 has; and again
#: after a SIGTERM, for those that never met it.
LEAVE = 5.0

_SIGNALS = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


def follow(environ: Mapping[str, str]) -> None:
    """Get SIGTERM when the process that started us as a local rank is gone.

    A rank must not outlive its launcher, even one that was killed.
    """
    above = os.getppid()
    if environ.get("DASKRUNNER_JOB_ID", "").partition("-")[0] != str(above):
        return
    import ctypes  # noqa: PLC0415  for local ranks only

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != above:  # gone before we asked
        signal.raise_signal(signal.SIGTERM)


async def launch(
    nranks: int,
    args: Sequence[str],
    environ: Mapping[str, str],
    opened: Mapping[int, Sequence[int]],
) -> int:
    """Start *nranks* ranks on this machine; return the status of rank 0.

    Parameters
    ----------
    nranks : int
    args : sequence of str
        The arguments of ``dask-runner``, as the user gave them.
    environ : mapping
    opened : mapping
        By rank, descriptors that a shell has left open for what it starts.
    """
    directory = tempfile.mkdtemp(prefix=PRIVATE, dir=custody.temporary())
    common = {
        **environ,
        "DASKRUNNER_SIZE": str(nranks),
        "DASKRUNNER_JOB_ID": f"{os.getpid()}-{secrets.token_hex(4)}",
        DIRECTORY: directory,
    }
    ranks: list[asyncio.subprocess.Process] = []
    passed_on: set[int] = set()

    def pass_on(number: int) -> None:
        passed_on.add(number)
        _forward(ranks, number)

    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, pass_on, number)
    hear_signals()
    try:
        for rank in range(nranks):
            try:
                fds = opened.get(rank, ())
                ranks.append(await _start(rank, args, common, fds))
            except (OSError, RuntimeError) as error:
                # It may be there, where no thread could be had that waits for it.
                end_orphans(but=[process.pid for process in ranks])
                raise problem(error) from error
        for descriptor in itertools.chain(*opened.values()):
            # What writes there has to see when nobody reads it any more.
            os.close(descriptor)
        status = await ranks[0].wait()
        if status < 0 and -status not in passed_on:
            say(f"error: rank 0 on {socket.gethostname()} {Ended(status)}")
        await _leave_with_rank_0(ranks[1:])
    finally:
        for process in ranks:
            if process.returncode is None:
                process.kill()
                await process.wait()
        shutil.rmtree(directory, ignore_errors=True)
    return Ended(status).shell_status


async def _start(
    rank: int,
    args: Sequence[str],
    common: Mapping[str, str],
    descriptors: Sequence[int],
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "dask_runner",
        *args,
        env={**common, "DASKRUNNER_RANK": str(rank)},
        stdin=None if rank == 0 else asyncio.subprocess.DEVNULL,
        pass_fds=descriptors,
        # Ctrl-C reaches this process alone, which passes it on once.
        process_group=0,
    )


async def _leave_with_rank_0(others: Sequence[asyncio.subprocess.Process]) -> None:
    """Wait for the ranks that know of the end; tell those that do not."""
    for number in (None, signal.SIGTERM):
        waits = [asyncio.create_task(rank.wait()) for rank in others]
        if number is not None:
            _forward(others, number)
        if waits:
            await asyncio.wait(waits, timeout=LEAVE)


def _forward(ranks: Sequence[asyncio.subprocess.Process], number: int) -> None:
    for rank in ranks:
        if rank.returncode is None:
            rank.send_signal(number)
