"""``dask-runner -n 4 script.py``: this process is the launcher of local ranks.

It starts the ranks with the same command, and they go through the same stages as the
ranks of any launcher.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import secrets
import shutil
import signal
import sys
import tempfile
from typing import TYPE_CHECKING

from dask_runner import linux
from dask_runner.launch.detect import local_world
from dask_runner.launch.own_variables import (
    DIRECTORY_VARIABLE,
    JOB_ID_VARIABLE,
    RANK_VARIABLE,
    SIZE_VARIABLE,
)
from dask_runner.launch.signals import FOR_LOCAL_RANKS
from dask_runner.meeting.private import launcher, private_meeting
from dask_runner.meeting.record_directory import LOCAL_PREFIX
from dask_runner.node.follower import (
    HASH_SEED,
    SEED,
    SEEDED,
    hear_signals,
    hold_signals,
)
from dask_runner.node.local_ends import LocalEnds
from dask_runner.node.orphans import end_orphans
from dask_runner.node.system_errors import problem
from dask_runner.resources import private_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dask_runner.launch.settings import Settings

#: Seconds for the ranks to end by themselves after rank 0, or after one that died
#: before the ranks met; and once more after a SIGTERM to those that are left.
LEAVE_SECONDS = 5.0


@contextlib.contextmanager
def ends_with_launcher(environ: Mapping[str, str]) -> Iterator[None]:
    """Have the kernel send a local rank SIGTERM when its launcher has died.

    A rank must not outlive its launcher, even one that was killed, and removes then
    what the launcher would have removed.
    """
    parent = launcher(environ)
    if parent is None:
        yield
        return
    linux.end_with_parent(parent)
    try:
        yield
    finally:
        if os.getppid() != parent:
            directory = environ[DIRECTORY_VARIABLE]
            private_directory.HeldDirectory.at(directory).remove()


async def run_ranks(
    nranks: int,
    settings: Settings,
    args: Sequence[str],
    environ: Mapping[str, str],
    opened: Mapping[int, Sequence[int]],
    *,
    joins: bool = False,
) -> int:
    """Start *nranks* ranks on this machine; return the status of rank 0.

    Parameters
    ----------
    nranks : int
    settings : Settings
    args : sequence of str
        The arguments of ``dask-runner``, as the user gave them.
    environ : mapping
    opened : mapping
        Descriptors that the shell left open for the program, by rank.
    joins : bool
        Whether they join a running cluster, so that none of them waits for the others.
    """
    directory = tempfile.mkdtemp(
        prefix=LOCAL_PREFIX, dir=private_directory.for_temporary_files()
    )
    common = {
        **environ,
        SIZE_VARIABLE: str(nranks),
        JOB_ID_VARIABLE: f"{os.getpid()}-{secrets.token_hex(4)}",
        DIRECTORY_VARIABLE: directory,
    }
    try:
        ends = _local_ends(settings, common, joins=joins)
        return await _run(nranks, ends, args, common, opened)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


async def _run(
    nranks: int,
    ends: LocalEnds,
    args: Sequence[str],
    common: Mapping[str, str],
    opened: Mapping[int, Sequence[int]],
) -> int:
    ranks: list[asyncio.subprocess.Process] = []
    watches = [asyncio.create_task(ends.watch())]

    def pass_on(number: int) -> None:
        ends.passed_on.add(number)
        _forward(ranks, number)

    loop = asyncio.get_running_loop()
    for number in FOR_LOCAL_RANKS:
        loop.add_signal_handler(number, pass_on, number)
    hear_signals()
    try:
        for rank in range(nranks):
            try:
                fds = opened.get(rank, ())
                process = await _start(rank, args, common, fds)
            except (OSError, RuntimeError) as error:
                # The process may exist: asyncio starts a thread for it afterwards.
                end_orphans(but=[process.pid for process in ranks])
                raise problem(error) from error
            ranks.append(process)
            end = ends.report(rank, process)
            watches.append(asyncio.create_task(end))
        for descriptor in itertools.chain(*opened.values()):
            # A writer at the other end must notice when the program has closed it.
            os.close(descriptor)
        await ends.over.wait()
        await _see_off(ranks)
    finally:
        for watch in watches:
            watch.cancel()
        for process in ranks:
            if process.returncode is None:
                process.kill()
                await process.wait()
        ends.close()
        hold_signals()  # as in run_rank
    return ends.status


def _local_ends(
    settings: Settings, environ: Mapping[str, str], *, joins: bool
) -> LocalEnds:
    world = local_world({**environ, RANK_VARIABLE: "0"})
    where = private_meeting(world, environ, settings.scheduler_file)
    return LocalEnds(world, where, settings, joins=joins)


async def _start(
    rank: int,
    args: Sequence[str],
    common: Mapping[str, str],
    descriptors: Sequence[int],
) -> asyncio.subprocess.Process:
    seed = {}
    if rank == 0 and not common.get(HASH_SEED):
        seed = {HASH_SEED: SEED, SEEDED: "1"}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "dask_runner",
        *args,
        env={**common, RANK_VARIABLE: str(rank), **seed},
        stdin=None if rank == 0 else asyncio.subprocess.DEVNULL,
        pass_fds=descriptors,
        # Ctrl-C reaches this process alone, which passes it on once.
        process_group=0,
    )


async def _see_off(ranks: Sequence[asyncio.subprocess.Process]) -> None:
    """Wait until the ranks have ended; send SIGTERM to those that take too long."""
    for number in (None, signal.SIGTERM):
        waits = [asyncio.create_task(rank.wait()) for rank in ranks]
        if number is not None:
            _forward(ranks, number)
        await asyncio.wait(waits, timeout=LEAVE_SECONDS)


def _forward(ranks: Sequence[asyncio.subprocess.Process], number: int) -> None:
    for rank in ranks:
        if rank.returncode is None:
            rank.send_signal(number)
